//! A client of `/v1/subscribe`: checks every frame against the schema, and makes documents of what it is told.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, HandshakeError, Message, WebSocket, client};

use crate::fold::fold;
use crate::schema::validate;

/// A node says something within this time: it pings who hears nothing else.
const WORD: Duration = Duration::from_secs(60);

pub struct Subscriber {
    pub socket: WebSocket<TcpStream>,
}

/// What one subscription has told: documents as they are, with their versions; and where it can be gone on from.
#[derive(Clone, Default, Debug)]
pub struct Told {
    pub documents: BTreeMap<String, (Value, Value)>,
    pub cursor: Option<String>,
}

/// How a node closed: the code, and why. None where the connection just ended.
pub type Closed = Option<(u16, String)>;

impl Subscriber {
    /// # Errors
    /// The status of an answer that is no WebSocket.
    pub fn connect(at: SocketAddr, headers: &[(&'static str, &str)]) -> Result<Self, u16> {
        Self::try_connect(at, headers).expect("a connection")
    }

    /// # Errors
    /// Where nobody answers.
    pub fn try_connect(
        at: SocketAddr,
        headers: &[(&'static str, &str)],
    ) -> std::io::Result<Result<Self, u16>> {
        let mut request = format!("ws://{at}/v1/subscribe").into_client_request().expect("a request");
        let protocol = "syncline.sub.v1".parse().expect("a header");
        request.headers_mut().insert("sec-websocket-protocol", protocol);
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().expect("a header"));
        }
        let socket = TcpStream::connect(at)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(WORD))?;
        match client(request, socket) {
            Ok((socket, _)) => Ok(Ok(Self { socket })),
            Err(HandshakeError::Failure(Error::Http(answer))) => Ok(Err(answer.status().as_u16())),
            Err(error) => Err(std::io::Error::other(error.to_string())),
        }
    }

    /// Connected, and greeted.
    pub fn greeted(at: SocketAddr) -> Self {
        let mut subscriber = Self::connect(at, &[]).expect("a WebSocket");
        subscriber.say(&json!({"type": "hello"}));
        assert_eq!(subscriber.hear().expect("a frame")["type"], "welcome");
        subscriber
    }

    pub fn say(&mut self, frame: &Value) {
        validate("client", frame);
        self.say_whatever(&frame.to_string());
    }

    pub fn say_whatever(&mut self, text: &str) {
        // A node that has closed already will have said why.
        let _ = self.socket.send(Message::text(text));
    }

    /// Bytes below the WebSocket.
    pub fn say_bytes(&mut self, bytes: &[u8]) {
        self.socket.get_mut().write_all(bytes).expect("an open connection");
    }

    pub fn subscribe(&mut self, id: &str, target: &Value, mode: &str, since: Option<&Value>) {
        let mut frame = json!({"type": "subscribe", "id": id, "target": target, "mode": mode});
        if let Some(since) = since {
            frame["since"] = since.clone();
        }
        self.say(&frame);
    }

    /// The next frame, or how the node closed.
    pub fn hear(&mut self) -> Result<Value, Closed> {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => {
                    let frame = serde_json::from_str(&text).expect("JSON");
                    validate("node", &frame);
                    return Ok(frame);
                }
                Ok(Message::Close(Some(close))) => {
                    return Err(Some((close.code.into(), close.reason.to_string())));
                }
                Ok(Message::Ping(_)) => {}
                Ok(other) => panic!("{other:?}"),
                Err(_) => return Err(None),
            }
        }
    }

    /// Hears until a frame of this type comes.
    #[track_caller]
    pub fn hear_of(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.hear().unwrap_or_else(|closed| panic!("{closed:?} before a {kind}"));
            if frame["type"] == kind {
                return frame;
            }
        }
    }

    /// How the node closes, whatever it says before.
    pub fn closing(&mut self) -> Closed {
        loop {
            if let Err(closed) = self.hear() {
                return closed;
            }
        }
    }
}

impl Told {
    /// Takes a frame of a subscription in mode `value` or `patch`. False where all has to be forgotten.
    #[track_caller]
    pub fn take(&mut self, frame: &Value) -> bool {
        let doc = || frame["doc"].as_str().expect("a document").to_owned();
        match frame["type"].as_str().expect("a type") {
            "subscribed" => {}
            "snapshot" => {
                let before = self.documents.insert(doc(), (frame["version"].clone(), frame["value"].clone()));
                let before = before.map(|(version, _)| version);
                // After a new start of the connection the same may come again.
                assert!(before.is_none_or(|before| before != frame["version"]) || self.cursor.is_some());
            }
            "notify" => drop(self.documents.insert(doc(), (frame["version"].clone(), Value::Null))),
            "patch" => {
                let (version, value) = self.documents.get_mut(&doc()).expect("a snapshot before");
                assert_eq!(*version, frame["from"], "a gap");
                fold(value, &frame["patch"]).expect("a patch that applies");
                *version = frame["to"].clone();
            }
            "deleted" => drop(self.documents.remove(&doc())),
            "up-to-date" => self.cursor = frame["cursor"].as_str().map(str::to_owned),
            "refetch" => return false,
            _ => panic!("{frame}"),
        }
        true
    }

    pub fn value(&self, doc: &str) -> Option<&Value> {
        self.documents.get(doc).map(|(_, value)| value)
    }
}
