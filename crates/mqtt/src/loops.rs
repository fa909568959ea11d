//! The threads that serve connections. Each has a runtime of its own: a connection stays where it is, and what wakes it wakes no other
//! thread.

use std::cell::RefCell;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;

use anyhow::Context as _;
use drover_backbone::Ticket;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle};
use tokio::sync::mpsc;

use crate::connection;
use crate::gateway::Gateway;
use crate::listener::Permits;
use crate::proxy::Peer;
use crate::transport::Layer;

/// Accepted sockets on their way to a thread; then accepting waits.
const QUEUED: usize = 64;

/// A socket on its way to its thread.
pub(crate) struct Accepted {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) layer: Layer,
    pub(crate) socket: (std::net::TcpStream, Peer),
    pub(crate) permits: Permits,
}

impl Accepted {
    /// Serves it on this thread.
    fn serve(self) {
        let Self { gateway, layer, socket: (stream, peer), permits } = self;
        match TcpStream::from_std(stream) {
            Ok(stream) => {
                let tasks = gateway.tasks.clone();
                tasks.track(connection::run(gateway, layer, (stream, peer), permits));
            }
            Err(error) => gateway.accept_failed(&error),
        }
    }
}

/// The threads, each by what it is told. A thread ends when all of its connections have ended and this is gone.
pub(crate) struct Loops {
    threads: Vec<mpsc::Sender<Accepted>>,
    next: AtomicUsize,
}

impl Loops {
    /// Starts as many threads as the runtime that calls this has.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let count = Handle::current().metrics().num_workers();
        let threads = (0..count).map(start_one).collect::<Result<_, _>>()?;
        Ok(Self { threads, next: AtomicUsize::new(0) })
    }

    /// Hands a socket to the thread whose turn it is; waits while that one has too many to begin with.
    pub(crate) async fn serve(&self, accepted: Accepted) {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.threads.len();
        if let Some(thread) = self.threads.get(turn) {
            // A thread ends after this is gone, so there is one that takes it.
            let _ = thread.send(accepted).await;
        }
    }
}

fn start_one(number: usize) -> anyhow::Result<mpsc::Sender<Accepted>> {
    let (sender, mut accepted) = mpsc::channel::<Accepted>(QUEUED);
    let runtime = Builder::new_current_thread().enable_all().build().context("a runtime for connections")?;
    let work = move || {
        // Ends with the runtime.
        runtime.spawn(poll_fn(pass_on));
        runtime.block_on(async {
            while let Some(accepted) = accepted.recv().await {
                accepted.serve();
            }
        });
    };
    thread::Builder::new().name(format!("mqtt-{number}")).spawn(work).context("a thread for connections")?;
    Ok(sender)
}

thread_local! {
    static WAITING: RefCell<Waiting> = RefCell::default();
}

/// The frames of the log that connections of this thread wait for: the log wakes a thread once a frame, not each connection.
#[derive(Default)]
struct Waiting {
    frames: Vec<(Ticket, Vec<Waker>)>,
    /// Wakes [`pass_on`]; there from its first turn on.
    waker: Option<Waker>,
}

/// Wakes the task when the ticket's frame has become durable, or never will. `false` on a thread that serves no connections: there nothing
/// wakes it.
pub(crate) fn wait_for(ticket: &Ticket, waker: &Waker) -> bool {
    WAITING.with_borrow_mut(|waiting| {
        let Some(passes_on) = &waiting.waker else { return false };
        if let Some((_, wakers)) = waiting.frames.iter_mut().find(|(frame, _)| frame.same_frame(ticket)) {
            // A task that looks again need not be woken twice.
            if wakers.last().is_none_or(|last| !last.will_wake(waker)) {
                wakers.push(waker.clone());
            }
        } else {
            waiting.frames.push((ticket.clone(), vec![waker.clone()]));
            passes_on.wake_by_ref();
        }
        true
    })
}

/// Wakes the connections of frames that are settled.
fn pass_on(cx: &mut Context<'_>) -> Poll<()> {
    let settled = WAITING.with_borrow_mut(|waiting| {
        waiting.waker = Some(cx.waker().clone());
        let frames = &mut waiting.frames;
        frames.extract_if(.., |(frame, _)| frame.poll_durable(cx).is_ready()).collect::<Vec<_>>()
    });
    settled.into_iter().flat_map(|(_, wakers)| wakers).for_each(Waker::wake);
    Poll::Pending
}
