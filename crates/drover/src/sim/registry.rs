//! The devices of a run in a Drover's registry: made with a token each before it, removed after it.

use drover_model::{DeviceId, ProfileId};
use drover_runtime::Stop;
use futures_util::{StreamExt, stream};

use super::{Login, Plan, device_name};
use crate::client::{Client, Target};
use crate::commands::{credential, device};
use crate::failure::{Code, Failure, Outcome};
use crate::output::{Output, field, note};

/// Requests at a time.
const REQUESTS: usize = 64;
const TOPIC: &str = "v1/telemetry";

pub struct Registry<'a> {
    pub client: &'a Client,
    pub target: &'a Target,
    pub plan: &'a Plan,
    pub output: Output,
}

/// What became of making devices.
pub struct Made {
    pub logins: Vec<Login>,
    /// How many may be there, whatever happened.
    pub tried: u64,
    pub failure: Option<Failure>,
}

impl Registry<'_> {
    /// Makes all devices, the first one alone: when that is refused, nothing was begun.
    pub async fn make(&self, stop: &Stop) -> Made {
        let devices = self.plan.schedule.devices;
        let mut made = Made { logins: Vec::new(), tried: 1, failure: None };
        match self.make_one(0).await {
            Ok(login) => made.logins.push(login),
            Err(failure) => {
                let message = format!("can't make devices: {}", failure.message);
                made.failure = Some(Failure::new(failure.code, message));
                return made;
            }
        }
        made.tried = devices;
        let bar = self.output.count_bar(devices, "making devices");
        let mut making = stream::iter(1..devices).map(|number| self.make_one(number)).buffered(REQUESTS);
        while let Some(login) = making.next().await {
            match login {
                Ok(login) => made.logins.push(login),
                Err(failure) => made.failure = Some(failure),
            }
            if stop.is_draining() {
                made.failure = Some(Failure::failed("stopped before anything was sent"));
            }
            if made.failure.is_some() {
                break;
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        made
    }

    async fn make_one(&self, number: u64) -> Outcome<Login> {
        let id = self.id(number)?;
        let profile = ProfileId::parse(self.plan.profile.of(number).name()).ok();
        let labels = vec![("run".to_owned(), self.plan.run.clone())];
        device::register(self.client, &id, profile, labels).await?;
        let secret = field(&credential::create_token(self.client, &id).await?, "/secret");
        Ok(Login {
            client_id: id.as_str().to_owned(),
            username: Some(self.target.username(id.as_str())),
            password: Some(secret),
            topic: TOPIC.to_owned(),
        })
    }

    /// Removes what may have been made. What can't be removed is told; the report counts all the same.
    pub async fn remove(&self, tried: u64) {
        let bar = self.output.count_bar(tried, "removing devices");
        let removing = stream::iter(0..tried).map(|number| async move {
            let id = self.id(number)?;
            self.client.delete(&format!("/v1/devices/{id}")).await
        });
        let mut removing = removing.buffer_unordered(REQUESTS);
        let mut left = Vec::new();
        while let Some(removed) = removing.next().await {
            bar.inc(1);
            // One that was not made is not missed.
            left.extend(removed.err().filter(|failure| failure.code != Code::NotFound));
        }
        bar.finish_and_clear();
        if let Some(failure) = left.first() {
            let (count, run) = (left.len(), &self.plan.run);
            note(&format!("drover: {count} devices {run}-… are left, see `drover device delete`: {failure}"));
        }
    }

    fn id(&self, number: u64) -> Outcome<DeviceId> {
        DeviceId::parse(&device_name(&self.plan.run, number))
            .map_err(|error| Failure::failed(error.to_string()))
    }
}
