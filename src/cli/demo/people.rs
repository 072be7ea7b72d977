//! The people of the demo: each writes at one master, by the REST interface, as anybody would.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::{Method, StatusCode, header};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::super::client::{Answer, Client};
use super::super::output::{Failure, REFUSED};

pub(super) const LETTER: &str = "demo/letter";
const VISITS: &str = "demo/visits";
const GROCERIES: &str = "demo/groceries";

/// Between two edits of one person, in milliseconds: slow enough to follow, fast enough to meet.
const PAUSE_MS: std::ops::Range<u64> = 400..1_600;

/// Between looks for a document that is on its way, in milliseconds.
const LOOK_MS: u64 = 50;

/// Letters that the letter may have before its beginning is cut off, and how many are cut off then.
const LETTER_LENGTH: usize = 400;
const LETTER_CUT: usize = 120;

/// Groceries on the list before somebody crosses one off.
const LIST_LENGTH: usize = 8;

const NAMES: [&str; 9] = ["Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gus", "Hal", "Ida"];

const WORDS: [&str; 16] = [
    "dear", "all", "the", "layers", "dip", "towards", "each", "other", "and", "meet", "in", "one", "fold",
    "of", "the", "rock",
];

const GOODS: [&str; 10] =
    ["bread", "coffee", "lemons", "rice", "olives", "salt", "tea", "honey", "apples", "candles"];

/// The last thing that somebody did, for the line on the screen.
#[derive(Default)]
pub(super) struct Told(Mutex<String>);

impl Told {
    pub fn last(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn tell(&self, text: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }
}

/// Somebody at each of these masters writes, for ever.
pub(super) async fn write(masters: Vec<Client>, told: &Told) -> Result<(), Failure> {
    if let Some(first) = masters.first() {
        create(first).await?;
    }
    let people = NAMES.iter().cycle().zip(masters).enumerate();
    // Each begins elsewhere in the sentence: what they type is to be told apart.
    let people = people.map(|(nth, (name, client))| Person { name, client, words: nth * 5 }.live(told));
    futures_util::future::try_join_all(people).await?;
    Ok(())
}

async fn create(client: &Client) -> Result<(), Failure> {
    let documents = [
        (LETTER, json!({"title": "A letter that all write at once", "text": {"$text": ""}})),
        (VISITS, json!({"visits": {"$counter": 0}})),
        (GROCERIES, json!({"title": "Groceries", "items": ["bread"]})),
    ];
    for (id, document) in documents {
        let request = client.request(Method::PUT, &path(id)).header(header::CONTENT_TYPE, "application/json");
        client.send(request, document.to_string()).await?.done()?;
    }
    Ok(())
}

struct Person {
    name: &'static str,
    client: Client,
    words: usize,
}

fn path(id: &str) -> String {
    format!("/v1/docs/{id}")
}

impl Person {
    async fn live(mut self, told: &Told) -> Result<(), Failure> {
        loop {
            sleep(Duration::from_millis(fastrand::u64(PAUSE_MS))).await;
            let did = match fastrand::u8(0..4) {
                0 => self.visit().await,
                1 => self.shop().await,
                _ => self.type_a_word().await,
            };
            let text = match did {
                Ok(did) => format!("{} {did}", self.name),
                // Whoever joins in may have made something else of the documents.
                Err(Failure { code: REFUSED, message }) => format!("{} cannot: {message}", self.name),
                Err(failure) => return Err(failure),
            };
            told.tell(text);
        }
    }

    async fn visit(&self) -> Result<String, Failure> {
        self.edit(VISITS, None, json!([{"op": "increment", "path": "/visits", "by": 1}])).await?;
        Ok("came by".into())
    }

    async fn shop(&self) -> Result<String, Failure> {
        let (groceries, version) = self.read(GROCERIES).await?;
        let length = groceries["items"].as_array().map_or(0, Vec::len);
        let at = fastrand::usize(0..length.max(1));
        if length > LIST_LENGTH {
            let delete = json!([{"op": "list.delete", "path": "/items", "index": at, "count": 1}]);
            self.edit(GROCERIES, Some(&version), delete).await?;
            return Ok(format!("bought {}", groceries["items"][at].as_str().unwrap_or("something")));
        }
        let what = fastrand::choice(GOODS).unwrap_or("bread");
        let insert = json!([{"op": "list.insert", "path": "/items", "index": at, "value": what}]);
        self.edit(GROCERIES, Some(&version), insert).await?;
        Ok(format!("needs {what}"))
    }

    async fn type_a_word(&mut self) -> Result<String, Failure> {
        let (letter, version) = self.read(LETTER).await?;
        let length = letter["text"].as_str().map_or(0, |text| text.chars().count());
        let word = WORDS.get(self.words % WORDS.len()).unwrap_or(&"");
        self.words += 1;
        let word = format!("{word} ");
        let mut ops =
            vec![json!({"op": "text.splice", "path": "/text", "pos": length, "delete": 0, "insert": word})];
        if length > LETTER_LENGTH {
            ops.push(
                json!({"op": "text.splice", "path": "/text", "pos": 0, "delete": LETTER_CUT, "insert": ""}),
            );
        }
        self.edit(LETTER, Some(&version), Value::Array(ops)).await?;
        Ok(format!("wrote \"{}\"", word.trim_end()))
    }

    /// Waits for a document that has not come to this master yet.
    async fn read(&self, id: &str) -> Result<(Value, String), Failure> {
        let answer = loop {
            let answer = self.client.send(self.client.request(Method::GET, &path(id)), "").await?;
            if answer.status != StatusCode::NOT_FOUND {
                break answer.done()?;
            }
            sleep(Duration::from_millis(LOOK_MS)).await;
        };
        Ok((answer.json()?, answer.header("version").to_owned()))
    }

    /// At the version that was read: positions mean what they meant there, whatever has come since.
    async fn edit(&self, id: &str, parents: Option<&str>, ops: Value) -> Result<Answer, Failure> {
        let mut request = self
            .client
            .request(Method::PATCH, &path(id))
            .header(header::CONTENT_TYPE, "application/vnd.syncline.ops+json")
            .header("author", self.name);
        if let Some(parents) = parents {
            request = request.header("parents", parents);
        }
        self.client.send(request, ops.to_string()).await?.done()
    }
}
