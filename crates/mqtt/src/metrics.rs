//! What the gateway counts. Labels come from closed sets; nothing is kept per client or topic.

use drover_gateway::RefusedReason;
use drover_mqtt_codec::{QoS, ReasonCode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

type Label = [(&'static str, &'static str); 1];

/// The counters of the part `mqtt`.
pub(crate) struct Metrics {
    pub(crate) connections: Family<Label, Gauge>,
    pub(crate) accept_errors: Counter,
    closed: Family<Label, Counter>,
    connects: Family<Label, Counter>,
    endings: Family<Label, Counter>,
    refused: Family<Label, Counter>,
    subscriptions_refused: Family<Label, Counter>,
    drops: Family<Label, Counter>,
    over_budget: Family<Label, Counter>,
    pub(crate) budget_waiting: Gauge,
    received: [Counter; 3],
    sent: [Counter; 3],
    sessions: Gauge,
    subscriptions: Gauge,
    retained_messages: Gauge,
    retained_bytes: Gauge,
    pub(crate) wills: Counter,
    pub(crate) checkpoints: Counter,
    pub(crate) checkpoint_failures: Counter,
    pub(crate) sessions_expired: Counter,
    pub(crate) handed_on: Counter,
    sessions_over_bound: Family<Label, Counter>,
    pub(crate) sessions_refused: Counter,
    queued_bytes: Gauge,
    incomplete_bytes: Gauge,
    pub(crate) acknowledged: Counter,
    pub(crate) acknowledgements: Counter,
    pub(crate) bytes_received: Counter,
    pub(crate) bytes_sent: Counter,
    pub(crate) pauses: Counter,
    pub(crate) paused: Gauge,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let publishes = Family::<[(&'static str, &'static str); 2], Counter>::default();
        let by_qos = |direction| {
            ["0", "1", "2"]
                .map(|qos| publishes.get_or_create_owned(&[("direction", direction), ("qos", qos)]))
        };
        let metrics = Self {
            connections: Family::default(),
            accept_errors: Counter::default(),
            closed: Family::default(),
            connects: Family::default(),
            endings: Family::default(),
            refused: Family::default(),
            subscriptions_refused: Family::default(),
            drops: Family::default(),
            over_budget: Family::default(),
            budget_waiting: Gauge::default(),
            received: by_qos("in"),
            sent: by_qos("out"),
            sessions: Gauge::default(),
            subscriptions: Gauge::default(),
            retained_messages: Gauge::default(),
            retained_bytes: Gauge::default(),
            wills: Counter::default(),
            checkpoints: Counter::default(),
            checkpoint_failures: Counter::default(),
            sessions_expired: Counter::default(),
            handed_on: Counter::default(),
            sessions_over_bound: Family::default(),
            sessions_refused: Counter::default(),
            queued_bytes: Gauge::default(),
            incomplete_bytes: Gauge::default(),
            acknowledged: Counter::default(),
            acknowledgements: Counter::default(),
            bytes_received: Counter::default(),
            bytes_sent: Counter::default(),
            pauses: Counter::default(),
            paused: Gauge::default(),
        };
        registry.register("publishes", "PUBLISH packets, by direction and QoS", publishes);
        metrics.register_all(registry);
        metrics
    }

    fn register_all(&self, registry: &mut Registry) {
        registry.register("connections", "Clients connected, by transport", self.connections.clone());
        registry.register(
            "accept_errors",
            "Connections that could not be accepted",
            self.accept_errors.clone(),
        );
        registry.register("closed", "Connections closed at once, by reason", self.closed.clone());
        registry.register("connects", "CONNECT packets answered, by outcome", self.connects.clone());
        registry.register("endings", "Connections ended, by reason", self.endings.clone());
        registry.register("refused", "Messages refused, by the ledger's reasons", self.refused.clone());
        registry.register(
            "subscriptions_refused",
            "Subscriptions refused, by MQTT's reason",
            self.subscriptions_refused.clone(),
        );
        registry.register("drops", "Messages dropped, by reason", self.drops.clone());
        registry.register(
            "over_budget",
            "Times that reading of a client paused because a budget was used up, by budget",
            self.over_budget.clone(),
        );
        registry.register(
            "budget_waiting",
            "Clients whose reading is paused because a budget is used up",
            self.budget_waiting.clone(),
        );
        registry.register("acknowledged", "Messages acknowledged to clients", self.acknowledged.clone());
        registry.register(
            "acknowledgements",
            "Messages acknowledged by clients",
            self.acknowledgements.clone(),
        );
        registry.register("received_bytes", "Bytes received", self.bytes_received.clone());
        registry.register("sent_bytes", "Bytes sent", self.bytes_sent.clone());
        self.register_sessions(registry);
    }

    fn register_sessions(&self, registry: &mut Registry) {
        registry.register("sessions", "Sessions, with those whose clients are away", self.sessions.clone());
        registry.register("subscriptions", "Subscriptions, shared ones included", self.subscriptions.clone());
        registry.register("retained_messages", "Retained messages", self.retained_messages.clone());
        registry.register("retained_bytes", "Bytes of retained messages", self.retained_bytes.clone());
        registry.register("wills", "Wills published", self.wills.clone());
        registry.register("checkpoints", "Checkpoints of sessions written", self.checkpoints.clone());
        registry.register(
            "checkpoint_failures",
            "Checkpoints of sessions that could not be written",
            self.checkpoint_failures.clone(),
        );
        registry.register(
            "handed_on",
            "Messages of shared subscriptions that another member gets since a session ended",
            self.handed_on.clone(),
        );
        registry.register("sessions_expired", "Sessions that expired", self.sessions_expired.clone());
        registry.register(
            "sessions_over_bound",
            "Sessions ended because too much waited, by whose bound that was",
            self.sessions_over_bound.clone(),
        );
        registry.register(
            "sessions_refused",
            "New sessions refused because the tenant has too many",
            self.sessions_refused.clone(),
        );
        registry.register(
            "queued_bytes",
            "Bytes of QoS 1 and 2 messages that wait for clients",
            self.queued_bytes.clone(),
        );
        registry.register(
            "incomplete_bytes",
            "Bytes of packets that clients have begun and not finished",
            self.incomplete_bytes.clone(),
        );
        registry.register("pauses", "Times that reading of a client paused", self.pauses.clone());
        registry.register("paused", "Clients whose reading is paused", self.paused.clone());
    }

    /// How many sessions, subscriptions, retained messages, bytes of these, bytes in queues and bytes of incomplete packets there are.
    pub(crate) fn counted(&self, counts: [usize; 6]) {
        let gauges = [
            &self.sessions,
            &self.subscriptions,
            &self.retained_messages,
            &self.retained_bytes,
            &self.queued_bytes,
            &self.incomplete_bytes,
        ];
        for (gauge, count) in gauges.into_iter().zip(counts) {
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    pub(crate) fn closed(&self, reason: &'static str) {
        self.closed.get_or_create(&[("reason", reason)]).inc();
    }

    pub(crate) fn connect(&self, outcome: &'static str) {
        self.connects.get_or_create(&[("outcome", outcome)]).inc();
    }

    pub(crate) fn ended(&self, reason: &'static str) {
        self.endings.get_or_create(&[("reason", reason)]).inc();
    }

    pub(crate) fn refused(&self, reason: RefusedReason) {
        self.refused.get_or_create(&[("reason", reason.as_str())]).inc();
    }

    pub(crate) fn subscription_refused(&self, reason: ReasonCode) {
        self.subscriptions_refused.get_or_create(&[("reason", reason.name())]).inc();
    }

    pub(crate) fn over_budget(&self, budget: &'static str) {
        self.over_budget.get_or_create(&[("budget", budget)]).inc();
    }

    /// Whose bound it was: `session` or `tenant`.
    pub(crate) fn session_over_bound(&self, bound: &'static str) {
        self.sessions_over_bound.get_or_create(&[("bound", bound)]).inc();
    }

    pub(crate) fn dropped(&self, reason: &'static str) {
        self.drops.get_or_create(&[("reason", reason)]).inc();
    }

    pub(crate) fn dropped_many(&self, reason: &'static str, count: usize) {
        if count > 0 {
            self.drops.get_or_create(&[("reason", reason)]).inc_by(u64::try_from(count).unwrap_or(u64::MAX));
        }
    }

    pub(crate) fn received(&self, qos: QoS) {
        of_qos(&self.received, qos).inc();
    }

    pub(crate) fn sent(&self, qos: QoS) {
        of_qos(&self.sent, qos).inc();
    }
}

const fn of_qos([at_most_once, at_least_once, exactly_once]: &[Counter; 3], qos: QoS) -> &Counter {
    match qos {
        QoS::AtMostOnce => at_most_once,
        QoS::AtLeastOnce => at_least_once,
        QoS::ExactlyOnce => exactly_once,
    }
}
