//! A TCP proxy in front of a node: a link that can be cut, mended and stalled, and whose far end may move.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

pub struct Proxy {
    pub url: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    resumed: Condvar,
}

#[derive(Default)]
struct State {
    target: Option<SocketAddr>,
    cut: bool,
    stalled: bool,
    open: Vec<TcpStream>,
}

impl Proxy {
    /// Listens on a free port. There is nobody behind it until [`Proxy::lead_to`].
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let shared = Arc::new(Shared::default());
        let accepting = shared.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                accepting.accept(client);
            }
        });
        Self { url, shared }
    }

    /// New connections go to `target`.
    pub fn lead_to(&self, target: SocketAddr) {
        self.shared.state().target = Some(target);
    }

    /// Ends all connections, and refuses new ones.
    pub fn cut(&self) {
        let mut state = self.shared.state();
        state.cut = true;
        for socket in state.open.drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    pub fn mend(&self) {
        self.shared.state().cut = false;
    }

    /// Takes nothing more from either side; connections stay open.
    pub fn stall(&self) {
        self.shared.state().stalled = true;
    }

    pub fn resume(&self) {
        self.shared.state().stalled = false;
        self.shared.resumed.notify_all();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("the state")
    }

    fn accept(self: &Arc<Self>, client: TcpStream) {
        let mut state = self.state();
        let Some(target) = state.target.filter(|_| !state.cut) else { return };
        let Ok(server) = TcpStream::connect(target) else { return };
        for (from, to) in [(&client, &server), (&server, &client)] {
            let _ = from.set_nodelay(true);
            let (from, to) = (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
            let shared = self.clone();
            thread::spawn(move || shared.pump(from, to));
        }
        state.open.extend([client, server]);
    }

    fn pump(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = [0; 16 << 10];
        while let Ok(n) = from.read(&mut buffer) {
            drop(self.resumed.wait_while(self.state(), |state| state.stalled).expect("the state"));
            if n == 0 || to.write_all(&buffer[..n]).is_err() {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }
}
