//! Messages from clients to clients under kills: at QoS 1 and 2, to subscribers that are there and to others that are away; retained
//! messages, a will, and telemetry at QoS 2.

use std::time::Duration;

use anyhow::ensure;
use drover_mqtt_codec::{QoS, Will};
use drover_tests::load::fleet::Login;
use tokio::task::{JoinHandle, JoinSet};

use super::client::{Account, Link, Publisher, Subscriber, connect};

/// Time between two messages of a publisher.
const PERIOD: Duration = Duration::from_millis(5);
/// How long a subscriber may take to get everything.
const LONGEST_DRAIN: Duration = Duration::from_secs(20);
/// The client with the will.
const MORTAL: &str = "mortal";

/// All clients of it.
pub struct Delivery {
    publishers: Vec<Publisher>,
    /// Connected whenever the server runs.
    there: Vec<Subscriber>,
    /// Connected in every second round only.
    away: Vec<Subscriber>,
    /// Numbers of wills that the server has confirmed.
    wills: Vec<u64>,
    will: u64,
    doubled: u64,
    sent: u64,
    acknowledged: u64,
    pub faults: Vec<String>,
}

/// Clients at work until the server is killed.
pub struct Running {
    publishers: Vec<JoinHandle<Publisher>>,
    there: Vec<JoinHandle<Subscriber>>,
    away: Result<Vec<JoinHandle<Subscriber>>, Vec<Subscriber>>,
    mortal: JoinHandle<bool>,
}

/// What a round amounted to.
pub struct Figures {
    pub sent: u64,
    pub acknowledged: u64,
    pub received: u64,
    pub lost: u64,
    pub doubled: u64,
}

impl Delivery {
    /// Begins the sessions; `devices` send telemetry.
    pub async fn begin(address: &str, devices: &[Login]) -> anyhow::Result<Self> {
        let qos = [QoS::AtLeastOnce, QoS::ExactlyOnce];
        let login = |name: String| Login { device: name, token: None };
        let mut publishers: Vec<_> =
            (0..4).map(|index| Publisher::new(login(format!("p{index}")), qos[index % 2], PERIOD)).collect();
        publishers
            .extend(devices.iter().map(|login| Publisher::new(login.clone(), QoS::ExactlyOnce, 2 * PERIOD)));
        let subscribers = |name: &str| -> Vec<_> {
            qos.iter().map(|qos| Subscriber::new(&format!("{name}-{}", qos.as_u8()), *qos)).collect()
        };
        let mut delivery = Self {
            publishers,
            there: subscribers("there"),
            away: subscribers("away"),
            wills: Vec::new(),
            will: 0,
            doubled: 0,
            sent: 0,
            acknowledged: 0,
            faults: Vec::new(),
        };
        for subscriber in delivery.there.iter_mut().chain(&mut delivery.away) {
            subscriber.begin(address, &["chaos/#", "state/#", "will/#"]).await?;
        }
        Ok(delivery)
    }

    /// Lets all of them work; those that are away come back to what waits for them if `all`.
    pub fn start(&mut self, address: &str, all: bool) -> Running {
        let receive = |subscribers: Vec<Subscriber>| -> Vec<_> {
            let one = |mut subscriber: Subscriber| {
                let address = address.to_owned();
                work(async move {
                    // It ends by the kill.
                    let _ = subscriber.receive(&address).await;
                    subscriber
                })
            };
            subscribers.into_iter().map(one).collect()
        };
        let publish = |mut publisher: Publisher| {
            let address = address.to_owned();
            work(async move {
                let _ = publisher.run(&address, true).await;
                publisher
            })
        };
        self.will += 1;
        let (address_of_mortal, will) = (address.to_owned(), self.will);
        let away = std::mem::take(&mut self.away);
        Running {
            publishers: self.publishers.drain(..).map(publish).collect(),
            there: receive(std::mem::take(&mut self.there)),
            away: if all { Ok(receive(away)) } else { Err(away) },
            mortal: work(async move { live(&address_of_mortal, will).await }),
        }
    }

    /// The server was killed: takes the clients back.
    pub async fn stop(&mut self, running: Running) -> anyhow::Result<()> {
        for publisher in running.publishers {
            self.publishers.push(publisher.await?);
        }
        for subscriber in running.there {
            self.there.push(subscriber.await?);
        }
        match running.away {
            Err(away) => self.away = away,
            Ok(away) => {
                for subscriber in away {
                    self.away.push(subscriber.await?);
                }
            }
        }
        if running.mortal.await? {
            self.wills.push(self.will);
        }
        Ok(())
    }

    /// The server is back: publishers finish what they have begun, subscribers get everything, and all is compared.
    pub async fn settle(&mut self, address: &str, all: bool) -> anyhow::Result<Figures> {
        let mut settling = JoinSet::new();
        for mut publisher in self.publishers.drain(..) {
            let address = address.to_owned();
            settling.spawn(async move { publisher.run(&address, false).await.map(|()| publisher) });
        }
        self.publishers = settling.join_all().await.into_iter().collect::<Result<_, _>>()?;
        self.publishers.sort_by(|one, other| one.name().cmp(other.name()));
        let account = self.account();
        let mut lost = 0;
        let away = self.away.iter_mut().filter(|_| all);
        for subscriber in self.there.iter_mut().chain(away) {
            subscriber.drain(address, &account, LONGEST_DRAIN).await?;
            lost += subscriber.missing(&account);
            self.faults.extend(subscriber.misses(&account));
        }
        self.check_retained(address).await?;
        let subscribers = self.there.iter_mut().chain(&mut self.away);
        let (mut received, mut doubled) = (0, 0);
        for subscriber in subscribers {
            received += subscriber.received();
            doubled += subscriber.doubled;
            self.faults.extend(subscriber.faults());
        }
        let (mut sent, mut acknowledged) = (0, 0);
        for publisher in &mut self.publishers {
            sent += publisher.sent;
            acknowledged += publisher.acknowledged.len() as u64;
            self.faults.extend(publisher.faults());
        }
        let figures = Figures {
            sent: sent - self.sent,
            acknowledged: acknowledged - self.acknowledged,
            received,
            lost,
            doubled: doubled - self.doubled,
        };
        (self.sent, self.acknowledged, self.doubled) = (sent, acknowledged, doubled);
        Ok(figures)
    }

    /// What subscribers must have received.
    fn account(&self) -> Account {
        let publishers =
            self.free().map(|publisher| (publisher.name().to_owned(), publisher.acknowledged.clone()));
        publishers.chain([(MORTAL.to_owned(), self.wills.clone())]).collect()
    }

    /// Publishers whose messages go to other clients.
    fn free(&self) -> impl Iterator<Item = &Publisher> {
        self.publishers.iter().filter(|publisher| publisher.name().starts_with('p'))
    }

    /// Numbers that devices sent, and which of them were acknowledged.
    pub fn telemetry(&self) -> impl Iterator<Item = (&str, &[u64])> {
        let devices = self.publishers.iter().filter(|publisher| !publisher.name().starts_with('p'));
        devices.map(|publisher| (publisher.name(), &publisher.acknowledged[..]))
    }

    /// The retained messages are the last ones, since all are acknowledged.
    async fn check_retained(&mut self, address: &str) -> anyhow::Result<()> {
        let login = Login { device: "newcomer".into(), token: None };
        let (mut link, _) = Link::open(address, connect(&login, 0, None)).await?;
        let mut wanted: Vec<_> = self
            .free()
            .filter_map(|publisher| Some(format!("{} {}", publisher.name(), publisher.last_retained()?)))
            .collect();
        for (is_marked, text) in link.retained("state/#", wanted.len()).await? {
            ensure!(is_marked, "{text} is not marked as retained");
            match wanted.iter().position(|other| *other == text) {
                Some(position) => drop(wanted.swap_remove(position)),
                None => self.faults.push(format!("{text} is retained, expected is one of {wanted:?}")),
            }
        }
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "the clients of a test program")]
fn work<T: Send + 'static>(client: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(client)
}

/// A client with a will, until its connection ends; answers whether the server has confirmed it.
async fn live(address: &str, number: u64) -> bool {
    let will = Will {
        qos: QoS::ExactlyOnce,
        retain: false,
        topic: "will/mortal".into(),
        payload: format!("{MORTAL} {number}").into(),
        properties: None,
    };
    let login = Login { device: MORTAL.into(), token: None };
    // With and without a session that outlives the connection.
    let expiry_s = if number.is_multiple_of(2) { 1_000 } else { 0 };
    let Ok((mut link, _)) = Link::open(address, connect(&login, expiry_s, Some(will))).await else {
        return false;
    };
    while link.next().await.is_ok() {}
    true
}
