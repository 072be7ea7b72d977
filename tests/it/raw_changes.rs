//! Raw Automerge changes from outside that are not what they should be: refused, and nothing of them kept.

use std::io::Write;
use std::num::NonZeroU64;

use automerge::legacy::{Key, ObjectId, Op, OpId, OpType, SortedVec};
use automerge::transaction::Transactable;
use automerge::{ActorId, Automerge, Change, ChangeHash, ExpandedChange, ROOT, ScalarValue};
use serde_json::{Value, json};

use crate::client::{Answer, Client};
use crate::cluster::Cluster;

const AUTOMERGE: (&str, &str) = ("Content-Type", "application/vnd.automerge");

/// A node with one document that an Automerge client has made, and that client's copy.
struct Guarded {
    cluster: Cluster,
    client: Client,
    copy: Automerge,
    before: Value,
}

impl Guarded {
    fn start() -> Self {
        let cluster = Cluster::single();
        let mut client = cluster.client("a");
        let mut copy = Automerge::new().with_actor(ActorId::from([7; 16]));
        for n in 0..3 {
            let mut tx = copy.transaction();
            tx.put(ROOT, "n", n).expect("a change");
            tx.commit();
        }
        client.ask("POST", "/v1/docs/kept/changes", &[AUTOMERGE], copy.save()).expect(201);
        Self { cluster, client, copy, before: json!({"n": 2}) }
    }

    fn post(&mut self, raw: &[u8]) -> Answer {
        self.client.ask("POST", "/v1/docs/kept/changes", &[AUTOMERGE], raw)
    }

    #[track_caller]
    fn refused(&mut self, raw: &[u8], word: &str) {
        let answer = self.post(raw);
        let said = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!((answer.status, &*answer.problem()), (422, "change-refused"), "{said}");
        assert!(said.contains(word), "{said} does not tell of {word}");
        self.is_as_it_was();
    }

    #[track_caller]
    fn is_as_it_was(&mut self) {
        assert_eq!(self.client.get("/v1/docs/kept").expect(200).json(), self.before);
    }

    /// What is sound is taken after all of it, also by the next start.
    #[track_caller]
    fn still_takes_what_is_sound(mut self) {
        let mut tx = self.copy.transaction();
        tx.put(ROOT, "n", "sound").expect("a change");
        tx.commit();
        let last = self.copy.get_last_local_change().expect("a change").raw_bytes().to_vec();
        self.post(&last).expect(200);
        self.cluster.kill("a");
        self.cluster.launch("a");
        assert_eq!(self.cluster.client("a").get("/v1/docs/kept").expect(200).json(), json!({"n": "sound"}));
    }

    fn heads(&self) -> Vec<ChangeHash> {
        self.copy.get_heads()
    }
}

/// A change with one operation, that says of itself whatever is asked for.
fn made_up(actor: u8, seq: u64, start_op: u64, deps: &[ChangeHash], op: Op) -> Vec<u8> {
    let expanded = ExpandedChange {
        operations: vec![op],
        actor_id: ActorId::from([actor; 16]),
        hash: None,
        seq,
        start_op: NonZeroU64::new(start_op).expect("above 0"),
        time: 0,
        message: None,
        deps: deps.to_vec(),
        extra_bytes: Vec::new(),
        author: None,
    };
    Change::from(expanded).raw_bytes().to_vec()
}

fn put(value: i64) -> Op {
    Op {
        action: OpType::Put(ScalarValue::Int(value)),
        obj: ObjectId::Root,
        key: Key::from("n"),
        pred: SortedVec::new(),
        insert: false,
    }
}

#[test]
fn what_does_not_parse_is_refused() {
    let mut node = Guarded::start();
    let good = made_up(8, 1, 4, &node.heads(), put(9));
    node.refused(b"", "");
    node.refused(b"no change at all", "");
    node.refused(&[0; 1_000], "");
    node.refused(&good[..good.len() - 1], "");
    node.refused(&[&good[..], b"and more"].concat(), "");
    node.still_takes_what_is_sound();
}

#[test]
fn what_does_not_match_its_hash_is_refused_wherever_it_was_damaged() {
    let mut node = Guarded::start();
    let good = made_up(8, 1, 4, &node.heads(), put(9));
    for at in 0..good.len() {
        let mut damaged = good.clone();
        damaged[at] ^= 0x10;
        let answer = node.post(&damaged);
        assert!(matches!(answer.status, 409 | 422), "byte {at}: {answer:?}");
    }
    node.is_as_it_was();
    node.still_takes_what_is_sound();
}

#[test]
fn missing_dependencies_are_answered_with_their_hashes() {
    let mut node = Guarded::start();
    let missing = ChangeHash([0xab; 32]);
    let answer = node.post(&made_up(8, 1, 4, &[missing], put(9))).expect(409);
    assert_eq!(answer.problem(), "missing-dependencies");
    assert_eq!(answer.json()["missing"], json!([missing.to_string()]));
    node.is_as_it_was();
    node.still_takes_what_is_sound();
}

#[test]
fn lies_about_dependencies_sequence_and_counters_are_refused() {
    let mut node = Guarded::start();
    let heads = node.heads();
    // The client's own fourth change, without the three before it among its ancestors.
    node.refused(&made_up(7, 4, 4, &[], put(9)), "ancestors");
    node.refused(&made_up(7, 3, 4, &heads, put(9)), "sequence");
    node.refused(&made_up(7, 9, 4, &heads, put(9)), "sequence");
    node.refused(&made_up(8, 2, 4, &heads, put(9)), "sequence");
    node.refused(&made_up(8, u64::MAX, 4, &heads, put(9)), "");
    node.refused(&made_up(8, 1, 1, &heads, put(9)), "first operation");
    node.refused(&made_up(8, 1, 1 << 30, &heads, put(9)), "first operation");
    node.refused(&made_up(8, 1, 1 << 40, &heads, put(9)), "");
    node.still_takes_what_is_sound();
}

#[test]
fn what_inflates_to_gigabytes_is_refused_without_being_inflated() {
    let mut node = Guarded::start();
    let before = node.cluster.most_memory("a");
    let good = made_up(8, 1, 4, &node.heads(), put(9));
    // Four gigabytes of zeros: one flushed block again and again, and the end of a stream.
    let mut deflate = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    deflate.write_all(&vec![0; 1 << 20]).expect("memory");
    deflate.flush().expect("memory");
    let body = [&deflate.get_ref().repeat(4 << 10)[..], &[3, 0]].concat();
    assert!(body.len() < 7 << 20, "{} bytes", body.len());
    // Magic, checksum, kind 2 (a compressed change), length.
    let mut bomb = [&good[..8], &[2]].concat();
    let mut length = body.len();
    while length > 0x7f {
        bomb.push(length as u8 | 0x80);
        length >>= 7;
    }
    bomb.push(length as u8);
    bomb.extend(body);
    node.refused(&bomb, "");
    let more = node.cluster.most_memory("a") - before;
    assert!(more < 200 << 10, "{more} kB more memory were used");
    node.still_takes_what_is_sound();
}

#[test]
fn what_automerge_panics_over_is_refused_or_harmless() {
    let mut node = Guarded::start();
    let nowhere = OpId(77, ActorId::from([9; 16]));
    let odd = [
        Op { obj: ObjectId::Id(nowhere.clone()), ..put(1) },
        Op { action: OpType::Increment(4), ..put(1) },
        Op { pred: vec![nowhere].into(), ..put(1) },
        Op { action: OpType::Delete, ..put(1) },
        Op { insert: true, ..put(1) },
    ];
    let mut refused = 0;
    for (n, op) in odd.into_iter().enumerate() {
        let raw = made_up(20 + n as u8, 1, 4, &node.heads(), op.clone());
        // Each has a document of its own: some are taken, since they harm nobody.
        let path = format!("/v1/docs/{n}/changes");
        node.client.ask("POST", &path, &[AUTOMERGE], node.copy.save()).expect(201);
        let answer = node.client.ask("POST", &path, &[AUTOMERGE], &raw);
        let path = path.trim_end_matches("/changes");
        match answer.status {
            200 => {
                node.client.patch(path, &json!({"more": true})).expect(200);
            }
            _ => {
                refused += 1;
                assert_eq!(answer.expect(422).problem(), "change-refused", "{op:?}");
                assert_eq!(node.client.get(path).expect(200).json(), node.before, "{op:?}");
            }
        }
        let shown = node.client.get(path).expect(200).json();
        node.cluster.kill("a");
        node.cluster.launch("a");
        node.client = node.cluster.client("a");
        assert_eq!(node.client.get(path).expect(200).json(), shown, "{op:?}");
    }
    assert!(refused > 0, "none was refused");
    node.is_as_it_was();
    node.still_takes_what_is_sound();
}
