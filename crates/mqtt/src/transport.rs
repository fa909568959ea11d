//! The byte stream that MQTT runs over: TCP, TLS or WebSocket.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::Listener;
use crate::gateway::Gateway;
use crate::websocket::WebSocket;

/// How a listener's clients speak.
#[derive(Clone)]
pub(crate) enum Layer {
    Tcp,
    Tls(TlsAcceptor),
    WebSocket,
}

impl Layer {
    /// Label of metrics.
    pub(crate) const fn label(&self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls(_) => "tls",
            Self::WebSocket => "websocket",
        }
    }

    /// Where its clients come in.
    pub(crate) const fn listener(&self) -> Listener {
        match self {
            Self::Tcp => Listener::Mqtt,
            Self::Tls(_) => Listener::Mqtts,
            Self::WebSocket => Listener::Ws,
        }
    }

    /// Does the handshake of the layer.
    pub(crate) async fn accept(
        self,
        gateway: &Gateway,
        stream: TcpStream,
        source: IpAddr,
    ) -> io::Result<Transport> {
        Ok(match self {
            Self::Tcp => Transport::Tcp(stream),
            Self::Tls(acceptor) => Transport::Tls(Box::new(acceptor.accept(stream).await?)),
            Self::WebSocket => {
                Transport::WebSocket(Box::new(WebSocket::accept(gateway, stream, source).await?))
            }
        })
    }
}

/// An established stream; what most clients lack is behind a box.
pub(crate) enum Transport {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    WebSocket(Box<WebSocket>),
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_read(cx, buf),
            Self::WebSocket(stream) => stream.poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write(cx, bytes),
            Self::WebSocket(stream) => stream.poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
            Self::WebSocket(stream) => stream.poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
            Self::WebSocket(stream) => stream.poll_close(cx),
        }
    }
}
