//! What every gateway shares: the way into the log, who a device or an application is, how many may come and from which pages, and messages on their way down to devices.
//! No protocol and no sockets.

mod authenticator;
mod backoff;
mod downlink;
mod ingress;
mod origin;
mod places;
mod refusals;
mod subject;
mod verifiers;

pub use authenticator::{
    AuthenticationError, Authenticator, AuthenticatorOptions, Change, Changes, Identity,
};
pub use downlink::{Downlink, DownlinkMessage};
pub use ingress::{Ingress, Sender, SessionPublish};
pub use origin::{may_connect, origin_problems};
pub use places::{Place, Places, network_of};
pub use refusals::RefusedReason;
