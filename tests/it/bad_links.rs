//! What must not come over a link: the node closes it and says why, lives on, and loses nothing.

use bytes::Bytes;
use serde_json::json;
use syncline::base::{Change, DocId, Hash, Heads, NodeId, Origin, VersionVector};
use syncline::wire::{Entry, Heartbeat, Message, encode_frame};

use crate::cluster::{Cluster, Master, eventually};
use crate::peer::{Peer, hello};

/// A node with one document, on which `abuse` closes a link with a reason that contains `expected`.
#[track_caller]
fn closes(expected: &str, abuse: impl FnOnce(&mut Peer)) {
    let cluster = Cluster::single();
    cluster.client("a").put("/v1/docs/kept", &json!({"note": "as it was"})).expect(201);
    let (mut peer, _) = Peer::linked(cluster.at("a"));
    abuse(&mut peer);
    let reason = peer.closing_reason();
    assert!(reason.contains(expected), "{reason:?} instead of {expected:?}");
    assert_eq!(cluster.client("a").get("/v1/docs/kept").expect(200).json(), json!({"note": "as it was"}));
    // Whoever behaves is linked as before.
    let (mut peer, _) = Peer::linked(cluster.at("a"));
    peer.say(&Message::Heartbeat(Heartbeat::default()));
    eventually("a heartbeat", || matches!(peer.hear(), Ok(Message::Heartbeat(_))).then_some(()));
}

fn origin() -> Origin {
    Origin { node: NodeId([7; 8]), incarnation: 1, random: 1 }
}

fn entry(counter: u64, doc: &str, changes: Vec<Change>) -> Entry {
    let doc = DocId::new(doc).expect("an id");
    Entry { origin: origin(), counter, held: VersionVector::new(), doc, changes, drops: None }
}

/// One ordinary change of a new document, as another node would have made it.
fn change(key: &str) -> Change {
    use automerge::transaction::Transactable;
    let mut document = automerge::AutoCommit::new();
    document.put(automerge::ROOT, key, 1).expect("a change");
    let change = document.get_last_local_change().expect("the change").clone();
    let bytes = Bytes::copy_from_slice(change.raw_bytes());
    Change { hash: Hash(change.hash().0), deps: Heads::new(), bytes }
}

#[test]
fn garbage_closes_the_link() {
    closes("does not decode", |peer| peer.say_frame(b"\xff\x00no frame of ours".to_vec()));
}

#[test]
fn an_empty_frame_closes_the_link() {
    closes("does not decode", |peer| peer.say_frame(Vec::new()));
}

#[test]
fn another_version_of_the_protocol_closes_the_link() {
    let cluster = Cluster::single();
    let mut peer = Peer::connect(cluster.at("a"), None).expect("a link");
    let mut hello = hello(&peer.hear_hello().cluster);
    hello.version += 1;
    peer.say(&Message::Hello(Box::new(hello)));
    let reason = peer.closing_reason();
    assert!(reason.contains("version 2"), "{reason}");
}

#[test]
fn a_frame_past_the_limit_closes_the_link_before_it_is_read() {
    closes("past the limit", |peer| {
        // The head of a masked binary frame of 4 GiB.
        let mut head = vec![0x82, 0xff];
        head.extend((4_u64 << 30).to_be_bytes());
        peer.say_bytes(&[&head[..], &[1, 2, 3, 4], &[0; 1_000]].concat());
    });
}

#[test]
fn entries_that_claim_to_inflate_past_the_limit_close_the_link() {
    closes("more than", |peer| {
        peer.skip(1);
        // Frame 2, entries, one segment of which is said that it inflates to 2^60 bytes.
        let head = [0x83, 0x02, 0x02, 0x81, 0x82, 0x1b];
        peer.say_frame([&head[..], &(1_u64 << 60).to_be_bytes(), &[0x43, 1, 2, 3]].concat());
    });
}

#[test]
fn a_gap_in_frame_numbers_closes_the_link() {
    closes("frame 5 came where frame 2 was expected", |peer| {
        peer.skip(3);
        peer.say(&Message::Heartbeat(Heartbeat::default()));
    });
}

#[test]
fn a_frame_number_twice_closes_the_link() {
    closes("frame 1 came where frame 2 was expected", |peer| {
        peer.say_frame(encode_frame(1, &Message::Heartbeat(Heartbeat::default())));
    });
}

#[test]
fn a_second_hello_closes_the_link() {
    closes("a second hello", |peer| peer.say(&Message::Hello(Box::new(hello("syncline")))));
}

#[test]
fn whoever_does_not_say_hello_first_is_not_listened_to() {
    let cluster = Cluster::single();
    let mut peer = Peer::connect(cluster.at("a"), None).expect("a link");
    peer.say(&Message::Entries(vec![entry(1, "smuggled", vec![change("x")])]));
    let reason = peer.closing_reason();
    assert!(reason.contains("hello"), "{reason}");
    cluster.client("a").get("/v1/docs/smuggled").expect(404);
}

#[test]
fn a_node_of_another_cluster_is_refused() {
    let cluster = Cluster::single();
    let mut peer = Peer::connect(cluster.at("a"), None).expect("a link");
    peer.say(&Message::Hello(Box::new(hello("somebody else's"))));
    let reason = peer.closing_reason();
    assert!(reason.contains("another cluster") && reason.contains("somebody else's"), "{reason}");
}

#[test]
fn without_a_token_for_peers_there_is_no_link() {
    let mut cluster = Cluster::prepare(&[("a", Master)], &[]);
    let tokens = cluster.path().join("tokens");
    std::fs::write(&tokens, "client-secret-0123456789 read,write\npeer-secret-0123456789 peer\n")
        .expect("a file");
    cluster.arguments("a", &["--token-file", tokens.to_str().expect("a path")]);
    cluster.launch("a");
    let at = cluster.at("a");
    assert_eq!(Peer::connect(at, None).err(), Some(401));
    assert_eq!(Peer::connect(at, Some("wrong")).err(), Some(401));
    assert_eq!(Peer::connect(at, Some("client-secret-0123456789")).err(), Some(403));
    assert!(Peer::connect(at, Some("peer-secret-0123456789")).is_ok());
}

#[test]
fn changes_that_are_not_what_they_claim_fence_one_document_and_stop_nothing() {
    let cluster = Cluster::single();
    let (mut peer, _) = Peer::linked(cluster.at("a"));
    let (good, mut lying, mut broken) = (change("x"), change("x"), change("x"));
    lying.hash = Hash([9; 32]);
    broken.bytes = Bytes::from_static(b"no change at all");
    peer.say(&Message::Entries(vec![
        entry(1, "lying", vec![lying]),
        entry(2, "broken", vec![broken]),
        entry(3, "good", vec![good]),
    ]));
    let mut client = cluster.client("a");
    eventually("the entry after the bad ones", || (client.get("/v1/docs/good").status == 200).then_some(()));
    for fenced in ["lying", "broken"] {
        let answer = client.get(&format!("/v1/docs/{fenced}")).expect(500);
        assert_eq!(answer.problem(), "fenced");
        assert_eq!(client.patch(&format!("/v1/docs/{fenced}"), &json!({"y": 1})).problem(), "fenced");
    }
    // The vector has moved on: nothing is missing, and nobody is asked again.
    let vector = cluster.standing("a").vector;
    assert_eq!(vector[0][1], 3, "{vector}");
    client.put("/v1/docs/good", &json!({"x": 2})).expect(200);
}

#[test]
fn entries_that_come_again_are_taken_once() {
    let cluster = Cluster::single();
    let (mut peer, _) = Peer::linked(cluster.at("a"));
    let (first, second) = (change("x"), change("y"));
    let entries = vec![entry(1, "d", vec![first.clone()]), entry(2, "d", vec![second.clone()])];
    for _ in 0..3 {
        peer.say(&Message::Entries(entries.clone()));
    }
    // The same change under another origin's name is logged, and applied nowhere again.
    peer.say(&Message::Entries(vec![entry(3, "d", vec![first]), entry(4, "end", vec![change("z")])]));
    let mut client = cluster.client("a");
    eventually("the last entry", || (client.get("/v1/docs/end").status == 200).then_some(()));
    assert_eq!(client.get("/v1/docs/d").expect(200).json(), json!({"x": 1, "y": 1}));
}
