//! SIGTERM and SIGINT: the first asks to stop, the second does not ask.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::Stop;

/// Exit code after a second signal, as of a shell's process that SIGINT ended.
const ABORTED: i32 = 130;

/// Listens for signals as long as the process lives.
///
/// # Errors
/// When the operating system does not let the process have them.
#[expect(clippy::disallowed_methods, reason = "it must outlive every task that is awaited at stop")]
pub fn watch(stop: Stop) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        either(&mut terminate, &mut interrupt).await;
        tracing::info!("stopping; a second signal aborts");
        stop.begin_drain();
        either(&mut terminate, &mut interrupt).await;
        std::process::exit(ABORTED);
    });
    Ok(())
}

/// Cancel-safe: so is receiving a signal.
async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
