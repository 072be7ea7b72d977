//! The load generator: keep-alive connections, prebuilt requests, and no more reading of answers than is needed.
//!
//! It shares its two cores with what it measures, so a general HTTP client would cost more than the server.
//! Each of its threads is a loop of its own over its part of the connections.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::cli::output::Failure;

/// Threads that make load, and no more: they compete with the nodes for cores.
const THREADS: usize = 2;

/// An answer comes within this time, or the run has failed.
const ANSWER: Duration = Duration::from_secs(60);

/// One connection's requests, in order.
pub trait Requests: Send + 'static {
    /// None at the end.
    fn next(&mut self) -> Option<&[u8]>;
}

/// What a run of requests gave. All were answered with 2xx or 304.
#[derive(Default)]
pub struct Tally {
    pub requests: u64,
    pub elapsed: Duration,
    /// Of each answer, in microseconds, in ascending order.
    latencies: Vec<u32>,
}

/// A keep-alive connection, and the last answer on it.
pub struct Connection {
    socket: TcpStream,
    buffer: Vec<u8>,
    head: usize,
}

/// A request whose marked places take numbers, so that thousands differ at the cost of a few digits.
#[derive(Clone)]
pub struct Template {
    bytes: Vec<u8>,
    slots: Vec<std::ops::Range<usize>>,
}

impl Tally {
    pub fn per_second(&self) -> f64 {
        self.requests as f64 / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }

    /// In milliseconds; `share` in 0..1.
    pub fn latency_ms(&self, share: f64) -> f64 {
        percentile(&self.latencies, share) / 1_000.0
    }
}

/// Of values in ascending order; 0 where there are none.
pub fn percentile(ascending: &[u32], share: f64) -> f64 {
    let last = ascending.len().saturating_sub(1);
    let at = (last as f64 * share).round() as usize;
    ascending.get(at).copied().unwrap_or(0).into()
}

/// A whole request as it goes over the wire.
pub fn request(method: &str, path: &str, at: SocketAddr, content_type: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: {at}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

impl Template {
    /// `marks` are texts that occur once each; their places take numbers of as many digits.
    pub fn new(bytes: Vec<u8>, marks: &[&str]) -> Self {
        let find = |mark: &&str| {
            let at = bytes.windows(mark.len()).position(|window| window == mark.as_bytes());
            at.map_or(0..0, |at| at..at + mark.len())
        };
        let slots = marks.iter().map(find).collect();
        Self { bytes, slots }
    }

    /// The request with these numbers, in the order of the marks.
    pub fn fill(&mut self, numbers: &[u64]) -> &[u8] {
        for (slot, number) in self.slots.iter().zip(numbers) {
            let mut number = *number;
            for digit in self.bytes[slot.clone()].iter_mut().rev() {
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
            }
        }
        &self.bytes
    }
}

impl Connection {
    pub async fn open(at: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect(at).await?;
        socket.set_nodelay(true)?;
        Ok(Self { socket, buffer: Vec::with_capacity(16 << 10), head: 0 })
    }

    /// Sends one request, reads its answer whole, and gives its status.
    ///
    /// # Errors
    /// When the connection fails, or the answer is not one that a node gives.
    pub async fn exchange(&mut self, request: &[u8]) -> io::Result<u16> {
        self.socket.write_all(request).await?;
        self.buffer.clear();
        let (status, head, length) = loop {
            if self.socket.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(found) = read_head(&self.buffer)? {
                break found;
            }
        };
        self.head = head;
        while self.buffer.len() < head + length {
            if self.socket.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(status)
    }

    /// The same, where anything but 2xx and 304 is a failure.
    ///
    /// # Errors
    /// Also after a minute without an answer.
    pub async fn succeed(&mut self, request: &[u8]) -> Result<(), Failure> {
        let line = || String::from_utf8_lossy(request.split(|b| *b == b'\r').next().unwrap_or_default());
        match tokio::time::timeout(ANSWER, self.exchange(request)).await {
            Ok(Ok(200..300 | 304)) => Ok(()),
            Ok(Ok(status)) => {
                let body = String::from_utf8_lossy(self.body());
                Err(Failure::refused(format!("{}: {status}: {body}", line())))
            }
            Ok(Err(error)) => Err(Failure::refused(format!("{}: {error}", line()))),
            Err(_) => Err(Failure::refused(format!("{}: no answer within {ANSWER:?}", line()))),
        }
    }

    /// A header of the last answer.
    pub fn header(&self, name: &str) -> Option<&str> {
        let head = self.buffer.get(..self.head)?;
        find_header(head, name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Of the last answer.
    pub fn body(&self) -> &[u8] {
        self.buffer.get(self.head..).unwrap_or_default()
    }
}

/// Status, bytes of the head, and bytes of the body to come; None until the head is whole.
fn read_head(bytes: &[u8]) -> io::Result<Option<(u16, usize, usize)>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let head = &bytes[..end + 2];
    let number = |text: &[u8]| std::str::from_utf8(text).ok()?.trim().parse().ok();
    let status = head.get(9..12).and_then(number).unwrap_or(0);
    let length = match find_header(head, "content-length") {
        Some(length) => number(length).map(usize::from),
        None => None,
    };
    let status_without_body = matches!(status, 204 | 304);
    match length.or(status_without_body.then_some(0)) {
        Some(length) => Ok(Some((status, end + 4, length))),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, "an answer without Content-Length")),
    }
}

fn find_header<'a>(head: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut lines = head.split(|b| *b == b'\n');
    lines.find_map(|line| {
        let (key, value) = line.split_at_checked(name.len())?;
        let value = key.eq_ignore_ascii_case(name.as_bytes()).then_some(value)?.strip_prefix(b":")?;
        Some(value.trim_ascii())
    })
}

/// Closed loop: every connection sends its next request when the last is answered, until its requests end
/// or `until` has passed.
///
/// # Errors
/// At the first answer that is neither 2xx nor 304.
pub async fn closed_loop<R: Requests>(
    at: SocketAddr,
    connections: Vec<R>,
    until: Option<Duration>,
) -> Result<Tally, Failure> {
    let start = Instant::now();
    let each = move |mut requests: R| async move {
        let mut connection = Connection::open(at).await.map_err(no_connection)?;
        let mut latencies = Vec::with_capacity(1 << 12);
        let mut before = Instant::now();
        while until.is_none_or(|until| before.duration_since(start) < until) {
            let Some(request) = requests.next() else { break };
            connection.succeed(request).await?;
            let now = Instant::now();
            latencies.push(micros(now - before));
            before = now;
        }
        Ok(latencies)
    };
    let mut latencies = on_threads(connections, each).await?.concat();
    latencies.sort_unstable();
    Ok(Tally { requests: latencies.len() as u64, elapsed: start.elapsed(), latencies })
}

pub fn no_connection(error: io::Error) -> Failure {
    Failure::refused(format!("no connection to a node of the benchmark: {error}"))
}

pub fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

/// Runs a task for each of `parts` on the threads of the load generator, and gives what they gave, in any order.
///
/// # Errors
/// The first that a task has.
pub async fn on_threads<P, T, F, W>(parts: Vec<P>, work: W) -> Result<Vec<T>, Failure>
where
    P: Send + 'static,
    T: Send + 'static,
    F: Future<Output = Result<T, Failure>> + 'static,
    W: Fn(P) -> F + Clone + Send + 'static,
{
    let mut shares: Vec<Vec<P>> = (0..THREADS).map(|_| Vec::new()).collect();
    for (n, part) in parts.into_iter().enumerate() {
        shares[n % THREADS].push(part);
    }
    let mut threads = JoinSet::new();
    for share in shares {
        let work = work.clone();
        threads.spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|e| Failure::refused(format!("no thread for load: {e}")))?;
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, async move {
                let mut tasks = JoinSet::new();
                for part in share {
                    tasks.spawn_local(work(part));
                }
                gather(tasks).await
            })
        });
    }
    Ok(gather(threads).await?.into_iter().flatten().collect())
}

async fn gather<T: 'static>(mut tasks: JoinSet<Result<T, Failure>>) -> Result<Vec<T>, Failure> {
    let mut all = Vec::with_capacity(tasks.len());
    while let Some(done) = tasks.join_next().await {
        all.push(done.map_err(|e| Failure::refused(format!("the load generator failed: {e}")))??);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_takes_numbers_where_its_marks_were() {
        let mut template = Template::new(b"/docs/DDDD {\"FF\":1VVV}".to_vec(), &["DDDD", "FF", "VVV"]);
        assert_eq!(template.fill(&[7, 19, 5]), b"/docs/0007 {\"19\":1005}");
        assert_eq!(template.fill(&[12_345, 0, 999]), b"/docs/2345 {\"00\":1999}");
    }

    #[test]
    fn an_answers_head_is_read_once_it_is_whole() {
        let answer = b"HTTP/1.1 201 Created\r\nVersion: \"x\"\r\nContent-Length: 12\r\n\r\n{";
        assert_eq!(read_head(answer).unwrap(), Some((201, answer.len() - 1, 12)));
        assert_eq!(read_head(&answer[..30]).unwrap(), None);
        assert_eq!(find_header(answer, "version"), Some(&b"\"x\""[..]));
        assert!(read_head(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
        assert!(matches!(read_head(b"HTTP/1.1 204 No Content\r\n\r\n"), Ok(Some((204, _, 0)))));
    }

    #[test]
    fn percentiles_are_of_values_that_occurred() {
        assert_eq!(percentile(&[], 0.5), 0.0);
        assert_eq!(percentile(&[1, 2, 3, 4, 5], 0.5), 3.0);
        assert_eq!(percentile(&[1, 2, 3, 4, 5], 0.99), 5.0);
    }
}
