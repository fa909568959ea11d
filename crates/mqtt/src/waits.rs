//! What ends a connection that goes nowhere: timeouts on the gateway's coarse clock, the drain, and the wish of others.

use std::sync::atomic::Ordering;

use drover_mqtt_codec::ReasonCode;

use crate::connection::Connection;
use crate::error::End;
use crate::message::TICKS_PER_SECOND;
use crate::session::Ending;

/// Since when a connection waits for what, in ticks.
pub(crate) struct Waits {
    /// 1.5 times the keep-alive; 0 = none (MQTT 5, 3.1.2.10).
    keep_alive_ticks: u32,
    pub(crate) last_read: u32,
    pub(crate) paused_since: Option<u32>,
    /// An acknowledgement waits for the log since then.
    unanswered_since: Option<u32>,
    /// The log took something since the timeouts were looked at.
    pub(crate) has_progressed: bool,
    pub(crate) blocked_since: Option<u32>,
    pub(crate) draining_since: Option<u32>,
}

impl Waits {
    pub(crate) fn new(keep_alive_s: u16, now: u32) -> Self {
        Self {
            keep_alive_ticks: u32::from(keep_alive_s) * 3 * TICKS_PER_SECOND / 2,
            last_read: now,
            paused_since: None,
            unanswered_since: None,
            has_progressed: false,
            blocked_since: None,
            draining_since: None,
        }
    }
}

impl Connection {
    /// Ends when another client, the platform or the process wants it.
    pub(crate) fn check_ending(&mut self) -> Result<(), End> {
        match self.seat.attachment.ending() {
            None => {}
            Some(Ending::TakenOver) => {
                return Err(End::refused(ReasonCode::SessionTakenOver, "the client id connected again"));
            }
            Some(Ending::CredentialGone) => {
                return Err(End::refused(ReasonCode::NotAuthorized, "the credential was revoked"));
            }
            Some(Ending::ByOperator) => {
                return Err(End::refused(ReasonCode::AdministrativeAction, "an operator ended the session"));
            }
            Some(Ending::QueueFull) => {
                return Err(End::refused(ReasonCode::QuotaExceeded, "too many messages wait for the client"));
            }
            Some(Ending::TenantFull) => {
                let text = "too many messages wait for the tenant's clients";
                return Err(End::refused(ReasonCode::QuotaExceeded, text));
            }
        }
        if self.gateway.is_draining() {
            let now = self.gateway.now();
            let since = *self.waits.draining_since.get_or_insert(now);
            if self.answers.is_empty()
                || now.saturating_sub(since) >= ticks(self.gateway.config.drain_timeout_s)
            {
                return Err(End::refused(ReasonCode::ServerShuttingDown, "the server stops"));
            }
        }
        Ok(())
    }

    /// Ends what has waited too long, and says when to look again.
    pub(crate) fn check_timeouts(&mut self) -> Result<(), End> {
        let now = self.gateway.now();
        self.note_pause(now);
        let config = &self.gateway.config;
        let stalled = self
            .waits
            .unanswered_since
            .or(self.waits.paused_since)
            .map_or(u32::MAX, |since| since.saturating_add(ticks(config.stall_timeout_s)));
        let blocked = self
            .waits
            .blocked_since
            .map_or(u32::MAX, |since| since.saturating_add(ticks(config.write_timeout_s)));
        let drained = self
            .waits
            .draining_since
            .map_or(u32::MAX, |since| since.saturating_add(ticks(config.drain_timeout_s)));
        // Whoever is not read can't be heard: the keep-alive is suspended. But a client that is not read because it takes nothing itself
        // shows by that whether it is there.
        let heard = match (self.may_read(), self.is_stuffed()) {
            (true, _) => Some(self.waits.last_read),
            (false, true) => self.waits.blocked_since.map(|since| since.max(self.waits.last_read)),
            (false, false) => None,
        };
        let silent = match heard {
            Some(heard) if self.waits.keep_alive_ticks > 0 => {
                heard.saturating_add(self.waits.keep_alive_ticks + 1)
            }
            _ => u32::MAX,
        };
        if self.waits.paused_since.is_some() {
            self.waits.last_read = now;
        }
        if now >= stalled {
            return Err(End::refused(ReasonCode::QuotaExceeded, "the log has taken nothing for too long"));
        }
        if now >= blocked {
            return Err(End::Io(std::io::ErrorKind::TimedOut.into()));
        }
        if now >= silent {
            return Err(End::refused(ReasonCode::KeepAliveTimeout, "nothing came within the keep-alive"));
        }
        let deadline = stalled.min(blocked).min(silent).min(drained);
        self.seat.attachment.deadline.store(deadline, Ordering::Relaxed);
        Ok(())
    }

    /// A pause lasts from the last progress.
    fn note_pause(&mut self, now: u32) {
        let has_progressed = std::mem::take(&mut self.waits.has_progressed);
        let unanswered_since = self.waits.unanswered_since.filter(|_| !has_progressed).unwrap_or(now);
        self.waits.unanswered_since = (!self.answers.is_empty()).then_some(unanswered_since);
        match (self.is_paused(), self.waits.paused_since) {
            (true, None) => {
                self.gateway.metrics.pauses.inc();
                self.gateway.metrics.paused.inc();
                self.waits.paused_since = Some(now);
            }
            (true, Some(_)) if has_progressed => self.waits.paused_since = Some(now),
            (false, Some(_)) => {
                self.gateway.metrics.paused.dec();
                self.waits.paused_since = None;
            }
            (true, Some(_)) | (false, None) => {}
        }
    }
}

fn ticks(seconds: u32) -> u32 {
    seconds.saturating_mul(TICKS_PER_SECOND)
}
