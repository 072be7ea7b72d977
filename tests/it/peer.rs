//! A link to a node, made by hand: what no node would say can be said on it.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use syncline::base::{NodeId, Origin, Role, VersionVector};
use syncline::wire::{Hello, Message, PROTOCOL_VERSION, decode_frame, encode_frame};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error, HandshakeError, Message as Frame, WebSocket, client};

/// A node says something within this time: heartbeats come every second.
const WORD: Duration = Duration::from_secs(20);

pub struct Peer {
    socket: WebSocket<TcpStream>,
    said: u64,
}

impl Peer {
    /// # Errors
    /// The status of an answer that is no WebSocket.
    pub fn connect(at: SocketAddr, token: Option<&str>) -> Result<Self, u16> {
        let mut request = format!("ws://{at}/v1/peer").into_client_request().expect("a request");
        let headers = request.headers_mut();
        headers.insert("sec-websocket-protocol", HeaderValue::from_static("syncline.peer.v1"));
        if let Some(token) = token {
            headers.insert("authorization", format!("Bearer {token}").parse().expect("a header"));
        }
        let socket = TcpStream::connect(at).expect("a connection");
        socket.set_read_timeout(Some(WORD)).expect("a time");
        match client(request, socket) {
            Ok((socket, _)) => Ok(Self { socket, said: 0 }),
            Err(HandshakeError::Failure(Error::Http(answer))) => Err(answer.status().as_u16()),
            Err(error) => panic!("the handshake: {error}"),
        }
    }

    /// Linked as another node with nothing.
    pub fn linked(at: SocketAddr) -> (Self, Hello) {
        let mut peer = Self::connect(at, None).expect("a link");
        let theirs = peer.hear_hello();
        peer.say(&Message::Hello(Box::new(hello(&theirs.cluster))));
        (peer, theirs)
    }

    pub fn hear_hello(&mut self) -> Hello {
        match self.hear() {
            Ok(Message::Hello(hello)) => *hello,
            other => panic!("{other:?} instead of a hello"),
        }
    }

    pub fn say(&mut self, message: &Message) {
        self.said += 1;
        self.say_frame(encode_frame(self.said, message));
    }

    /// A frame whatever is in it.
    pub fn say_frame(&mut self, frame: Vec<u8>) {
        self.socket.send(Frame::Binary(frame.into())).expect("an open link");
    }

    /// Frames that the next [`Peer::say`] leaves out.
    pub fn skip(&mut self, frames: u64) {
        self.said += frames;
    }

    /// Bytes below the WebSocket.
    pub fn say_bytes(&mut self, bytes: &[u8]) {
        self.socket.get_mut().write_all(bytes).expect("an open connection");
    }

    /// The next message, or why the node closed the link.
    pub fn hear(&mut self) -> Result<Message, String> {
        loop {
            match self.socket.read() {
                Ok(Frame::Binary(frame)) => return Ok(decode(frame)),
                Ok(Frame::Close(close)) => return Err(close.map_or(String::new(), |c| c.reason.to_string())),
                Ok(_) => {}
                Err(error) => return Err(format!("broken: {error}")),
            }
        }
    }

    /// Listens until the node closes the link, and gives its reason.
    pub fn closing_reason(&mut self) -> String {
        let mut goodbye = None;
        loop {
            match self.hear() {
                Ok(Message::Goodbye(reason)) => goodbye = Some(reason),
                Ok(_) => {}
                Err(reason) => return goodbye.unwrap_or(reason),
            }
        }
    }
}

fn decode(frame: Bytes) -> Message {
    decode_frame(&frame).expect("a node's frame").1
}

/// Of a replica of which nobody has heard.
pub fn hello(cluster: &str) -> Hello {
    let node = NodeId(fastrand::u64(..).to_be_bytes());
    Hello {
        version: PROTOCOL_VERSION,
        cluster: cluster.to_owned(),
        node,
        name: "by hand".into(),
        role: Role::Replica,
        url: None,
        origin: Origin { node, incarnation: 1, random: 0 },
        vector: VersionVector::new(),
        floor: VersionVector::new(),
    }
}
