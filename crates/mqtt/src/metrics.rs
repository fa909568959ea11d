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
    connects: Family<Label, Counter>,
    endings: Family<Label, Counter>,
    refused: Family<Label, Counter>,
    subscriptions_refused: Family<Label, Counter>,
    drops: Family<Label, Counter>,
    received: [Counter; 2],
    sent: [Counter; 2],
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
            ["0", "1"].map(|qos| publishes.get_or_create_owned(&[("direction", direction), ("qos", qos)]))
        };
        let metrics = Self {
            connections: Family::default(),
            accept_errors: Counter::default(),
            connects: Family::default(),
            endings: Family::default(),
            refused: Family::default(),
            subscriptions_refused: Family::default(),
            drops: Family::default(),
            received: by_qos("in"),
            sent: by_qos("out"),
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
        registry.register("connects", "CONNECT packets answered, by outcome", self.connects.clone());
        registry.register("endings", "Connections ended, by reason", self.endings.clone());
        registry.register("refused", "Messages refused, by the ledger's reasons", self.refused.clone());
        registry.register(
            "subscriptions_refused",
            "Subscriptions refused, by MQTT's reason",
            self.subscriptions_refused.clone(),
        );
        registry.register("drops", "Messages dropped, by reason", self.drops.clone());
        registry.register("acknowledged", "Messages acknowledged to clients", self.acknowledged.clone());
        registry.register(
            "acknowledgements",
            "Messages acknowledged by clients",
            self.acknowledgements.clone(),
        );
        registry.register("received_bytes", "Bytes received", self.bytes_received.clone());
        registry.register("sent_bytes", "Bytes sent", self.bytes_sent.clone());
        registry.register("pauses", "Times that reading of a client paused", self.pauses.clone());
        registry.register("paused", "Clients whose reading is paused", self.paused.clone());
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

    pub(crate) fn dropped(&self, reason: &'static str) {
        self.drops.get_or_create(&[("reason", reason)]).inc();
    }

    pub(crate) fn received(&self, qos: QoS) {
        let [at_most_once, at_least_once] = &self.received;
        if qos == QoS::AtMostOnce {
            at_most_once.inc()
        } else {
            at_least_once.inc()
        };
    }

    pub(crate) fn sent(&self, qos: QoS) {
        let [at_most_once, at_least_once] = &self.sent;
        if qos == QoS::AtMostOnce {
            at_most_once.inc()
        } else {
            at_least_once.inc()
        };
    }
}
