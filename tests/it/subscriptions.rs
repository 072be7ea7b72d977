//! Live reads from outside: what subscribers are told adds up, whoever dies meanwhile and whatever others send.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Client, OPS};
use crate::cluster::{Cluster, Master, Replica, eventually};
use crate::recorded::{Session, operations};
use crate::subscriber::{Subscriber, Told};

fn all() -> Value {
    json!({"all": true})
}

fn is_up_to_date(frame: &Value) -> bool {
    frame["type"] == "up-to-date"
}

/// Takes frames until one that is wanted; it is taken too.
#[track_caller]
fn hear_until(subscriber: &mut Subscriber, told: &mut Told, mut wanted: impl FnMut(&Told, &Value) -> bool) {
    loop {
        let frame = subscriber.hear().unwrap_or_else(|closed| panic!("closed: {closed:?}"));
        assert!(told.take(&frame), "{frame}");
        if wanted(told, &frame) {
            return;
        }
    }
}

#[test]
fn a_subscriber_on_a_replica_sees_what_is_typed_on_a_master_as_splices() {
    let cluster = Cluster::start(&[("a", Master), ("r", Replica)], &[("r", "a")]);
    let mut master = cluster.client("a");
    master.put("/v1/docs/x", &json!({"t": {"$text": "Mlk"}})).expect(201);
    cluster.converge(&["a", "r"]);
    let mut subscriber = Subscriber::greeted(cluster.at("r"));
    let mut told = Told::default();
    subscriber.subscribe("1", &json!({"doc": "x"}), "patch", None);
    hear_until(&mut subscriber, &mut told, |_, frame| is_up_to_date(frame));
    assert_eq!(told.value("x"), Some(&json!({"t": "Mlk"})));
    let ops = json!([{"op": "text.splice", "path": "/t", "pos": 1, "insert": "i"}]);
    master.ask("PATCH", "/v1/docs/x", &[("Content-Type", OPS)], ops.to_string()).expect(200);
    let patch = subscriber.hear_of("patch");
    assert_eq!(patch["patch"], ops);
    assert!(told.take(&patch));
    assert_eq!(told.value("x"), Some(&json!({"t": "Milk"})));
    master.ask("DELETE", "/v1/docs/x", &[], "").expect(204);
    subscriber.hear_of("deleted");
}

#[test]
fn a_cursor_of_one_node_is_gone_on_from_at_another() {
    let cluster = Cluster::start(&[("a", Master), ("b", Master), ("r", Replica)], &[("a", "b"), ("r", "b")]);
    let mut master = cluster.client("a");
    (0..10).for_each(|n| drop(master.put(&format!("/v1/docs/d{n}"), &json!({"n": n})).expect(201)));
    let mut told = Told::default();
    let mut subscriber = Subscriber::greeted(cluster.at("a"));
    subscriber.subscribe("1", &all(), "value", None);
    hear_until(&mut subscriber, &mut told, |told, frame| told.documents.len() == 10 && is_up_to_date(frame));
    master.put("/v1/docs/d3", &json!({"n": "new"})).expect(200);
    master.ask("DELETE", "/v1/docs/d4", &[], "").expect(204);
    // It may not have arrived there yet: then it is waited for.
    let mut other = Subscriber::greeted(cluster.at("r"));
    other.subscribe("1", &all(), "value", Some(&json!(told.cursor)));
    let mut heard = Vec::new();
    hear_until(&mut other, &mut told, |told, frame| {
        heard.push(frame["type"].as_str().unwrap_or_default().to_owned());
        told.documents.len() == 9 && told.value("d3") == Some(&json!({"n": "new"}))
    });
    assert_eq!(heard.iter().filter(|kind| *kind == "snapshot").count(), 1, "{heard:?}");
}

#[test]
fn raw_changes_make_the_document() {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD as BASE64;
    let cluster = Cluster::single();
    let mut master = cluster.client("a");
    master.put("/v1/docs/x", &json!({"n": 1})).expect(201);
    let mut subscriber = Subscriber::greeted(cluster.at("a"));
    subscriber.subscribe("1", &json!({"doc": "x"}), "changes", None);
    let mut document = automerge::Automerge::new();
    let mut take = |frame: Value| {
        for change in frame["changes"].as_array().expect("changes") {
            let bytes = BASE64.decode(change.as_str().expect("base64")).expect("base64");
            document.load_incremental(&bytes).expect("a change");
        }
        let heads: Vec<String> = document.get_heads().iter().map(ToString::to_string).collect();
        assert_eq!(json!(heads), frame["to"]);
    };
    take(subscriber.hear_of("changes"));
    for n in 2..5 {
        master.patch("/v1/docs/x", &json!({ "n": n })).expect(200);
        take(subscriber.hear_of("changes"));
    }
}

#[test]
fn a_subscriber_that_does_not_read_is_at_the_latest_state_when_it_does_and_others_notice_nothing() {
    let cluster = Cluster::single();
    let mut master = cluster.client("a");
    // Large enough that no socket takes all versions of it.
    let filler = "x".repeat(200_000);
    master.put("/v1/docs/x", &json!({"n": 0, "filler": filler})).expect(201);
    let mut lazy = Subscriber::greeted(cluster.at("a"));
    lazy.subscribe("1", &json!({"doc": "x"}), "value", None);
    let mut eager = Subscriber::greeted(cluster.at("a"));
    eager.subscribe("1", &json!({"doc": "x"}), "notify", None);
    let mut noticed = Told::default();
    for n in 1..=200 {
        let version = master.patch("/v1/docs/x", &json!({ "n": n })).expect(200).version();
        let version: Value = serde_json::from_str(&format!("[{version}]")).expect("a version");
        hear_until(&mut eager, &mut noticed, |told, _| {
            told.documents.get("x").is_some_and(|(known, _)| *known == version)
        });
    }
    let mut frames = 0;
    let mut told = Told::default();
    hear_until(&mut lazy, &mut told, |told, frame| {
        frames += usize::from(frame["type"] == "snapshot");
        told.value("x").is_some_and(|value| value["n"] == 200)
    });
    assert!(frames < 200, "all {frames} versions were kept for it");
}

#[test]
fn a_subscriber_that_takes_nothing_is_cut_in_the_end() {
    let mut cluster = Cluster::prepare(&[("a", Master)], &[]);
    // Deadlines in milliseconds; the third is for answers that are not taken. Real ones would be waited for too long.
    cluster.arguments("a", &["--http-bounds", "10000,10000,500,1000"]);
    cluster.launch("a");
    let mut master = cluster.client("a");
    let filler = "x".repeat(500_000);
    master.put("/v1/docs/x", &json!({"n": 0, "filler": filler})).expect(201);
    let mut stuck = Subscriber::greeted(cluster.at("a"));
    let mut other = Subscriber::greeted(cluster.at("a"));
    stuck.subscribe("1", &json!({"doc": "x"}), "value", None);
    other.subscribe("1", &json!({"doc": "x"}), "notify", None);
    let mut n = 0;
    eventually("its end", || {
        n += 1;
        master.patch("/v1/docs/x", &json!({ "n": n })).expect(200);
        other.hear_of("notify");
        let metrics = String::from_utf8(master.get("/metrics").expect(200).body).expect("text");
        metrics.lines().any(|line| line == "syncline_subscribers 1").then_some(())
    });
}

#[test]
fn what_is_no_frame_closes_with_4400_and_a_reason() {
    let cluster = Cluster::single();
    let mut other = Subscriber::greeted(cluster.at("a"));
    for text in [
        "",
        "x",
        "[]",
        "{}",
        "{\"type\":\"what\"}",
        "{\"type\":\"hello\"}",
        "{\"type\":\"subscribe\"}",
        "{\"type\":\"ping\",\"more\":1}",
    ] {
        let mut subscriber = Subscriber::greeted(cluster.at("a"));
        subscriber.say_whatever(text);
        let (code, reason) = subscriber.closing().expect("a close frame");
        assert!(code == 4400 && !reason.is_empty(), "{text:?}: {code} {reason}");
    }
    let mut early = Subscriber::connect(cluster.at("a"), &[]).expect("a WebSocket");
    early.say(&json!({"type": "ping"}));
    assert_eq!(early.closing().expect("a close frame").0, 4400);
    let mut large = Subscriber::greeted(cluster.at("a"));
    large.say_whatever(&format!("{{\"type\":\"ping\",\"x\":\"{}\"}}", "x".repeat(70_000)));
    assert_eq!(large.closing().expect("a close frame").0, 4413);
    other.say(&json!({"type": "ping"}));
    assert_eq!(other.hear().expect("a frame")["type"], "pong");
}

#[test]
fn who_says_no_hello_is_sent_away() {
    let cluster = Cluster::single();
    let mut silent = Subscriber::connect(cluster.at("a"), &[]).expect("a WebSocket");
    assert_eq!(silent.closing().expect("a close frame").0, 4408);
}

#[test]
fn a_frame_that_comes_byte_by_byte_is_a_frame() {
    let cluster = Cluster::single();
    let mut subscriber = Subscriber::connect(cluster.at("a"), &[]).expect("a WebSocket");
    let hello = b"{\"type\":\"hello\"}";
    let mut frame = vec![0x81, 0x80 | hello.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(hello);
    for byte in frame {
        subscriber.say_bytes(&[byte]);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(subscriber.hear().expect("a frame")["type"], "welcome");
}

#[test]
fn a_wish_that_cannot_be_is_an_error_and_the_connection_stays() {
    let cluster = Cluster::single();
    cluster.client("a").put("/v1/docs/x", &json!({})).expect(201);
    let mut elsewhere = Cluster::prepare(&[("o", Master)], &[]);
    elsewhere.arguments("o", &["--cluster", "other"]);
    elsewhere.launch("o");
    let mut foreign = Subscriber::greeted(elsewhere.at("o"));
    foreign.subscribe("1", &all(), "notify", None);
    let cursor = foreign.hear_of("up-to-date")["cursor"].clone();
    let mut subscriber = Subscriber::greeted(cluster.at("a"));
    let bad = [
        json!({"target": all(), "mode": "patch", "since": "garbage"}),
        json!({"target": all(), "mode": "patch", "since": cursor}),
        json!({"target": all(), "mode": "patch", "since": ["00"]}),
        json!({"target": all(), "mode": "patch", "since": ["0".repeat(64)]}),
        json!({"target": all(), "mode": "what"}),
        json!({"target": all()}),
        json!({"target": {"doc": ""}, "mode": "value"}),
        json!({"target": {"doc": "x", "all": true}, "mode": "value"}),
        json!({"mode": "value"}),
    ];
    for mut wish in bad {
        wish["type"] = "subscribe".into();
        wish["id"] = "bad".into();
        subscriber.say_whatever(&wish.to_string());
        let error = subscriber.hear().expect("a frame");
        assert_eq!((&error["type"], &error["id"]), (&json!("error"), &json!("bad")), "{wish}");
        assert_eq!(error["problem"]["type"], "urn:syncline:problem:malformed", "{wish}");
    }
    subscriber.subscribe("1", &all(), "value", None);
    subscriber.hear_of("up-to-date");
    subscriber.subscribe("1", &all(), "value", None);
    assert_eq!(subscriber.hear().expect("a frame")["type"], "error");
    // What has ended is told nothing, and its name is free.
    subscriber.say(&json!({"type": "unsubscribe", "id": "1"}));
    subscriber.subscribe("1", &all(), "notify", None);
    subscriber.hear_of("notify");
}

#[test]
fn a_connection_has_at_most_so_many_subscriptions() {
    let cluster = Cluster::single();
    let mut subscriber = Subscriber::connect(cluster.at("a"), &[]).expect("a WebSocket");
    subscriber.say(&json!({"type": "hello"}));
    let most = subscriber.hear().expect("a frame")["limits"]["subscriptions"].as_u64().expect("a number");
    for n in 0..=most {
        subscriber.subscribe(&n.to_string(), &json!({"doc": "x"}), "notify", Some(&json!("now")));
    }
    let error = subscriber.hear_of("error");
    assert_eq!(error["problem"]["type"], "urn:syncline:problem:too-many-subscriptions");
    cluster.client("a").put("/v1/docs/x", &json!({})).expect(201);
    let mut told: BTreeMap<String, u32> = BTreeMap::new();
    while told.len() < most as usize {
        *told.entry(subscriber.hear_of("notify")["id"].to_string()).or_default() += 1;
    }
    assert!(told.values().all(|times| *times == 1));
}

#[test]
fn who_may_subscribe() {
    let mut cluster = Cluster::prepare(&[("a", Master)], &[]);
    let tokens = cluster.path().join("tokens");
    std::fs::write(&tokens, "0123456789abcdef read\nfedcba9876543210 write\n").expect("a file");
    cluster.arguments("a", &["--token-file", tokens.to_str().expect("a path")]);
    cluster.launch("a");
    let at = cluster.at("a");
    let closing = |hello: Value| {
        let mut subscriber = Subscriber::connect(at, &[]).expect("a WebSocket");
        subscriber.say(&hello);
        subscriber.closing().expect("a close frame").0
    };
    assert_eq!(closing(json!({"type": "hello"})), 4401);
    assert_eq!(closing(json!({"type": "hello", "token": "0123456789abcdeg"})), 4401);
    assert_eq!(closing(json!({"type": "hello", "token": "fedcba9876543210"})), 4403);
    let mut browser = Subscriber::connect(at, &[]).expect("a WebSocket");
    browser.say(&json!({"type": "hello", "token": "0123456789abcdef"}));
    assert_eq!(browser.hear().expect("a frame")["type"], "welcome");
    let mut service =
        Subscriber::connect(at, &[("authorization", "Bearer 0123456789abcdef")]).expect("a WebSocket");
    service.say(&json!({"type": "hello"}));
    assert_eq!(service.hear().expect("a frame")["type"], "welcome");
    let refused = |headers: &[(&'static str, &str)]| Subscriber::connect(at, headers).err();
    assert_eq!(refused(&[("authorization", "Bearer fedcba9876543210")]), Some(403));
    assert_eq!(refused(&[("authorization", "Bearer nobody-knows-it-")]), Some(401));
    assert_eq!(refused(&[("origin", "http://evil.example")]), Some(403));
    assert_eq!(refused(&[("sec-websocket-protocol", "other")]), Some(400));
    assert_eq!(cluster.client("a").get("/v1/subscribe").status, 426);
}

#[test]
fn a_node_that_stops_sends_its_subscribers_elsewhere() {
    let mut cluster = Cluster::single();
    let mut subscribers: Vec<Subscriber> = (0..20).map(|_| Subscriber::greeted(cluster.at("a"))).collect();
    let (status, _) = cluster.terminate("a");
    assert!(status.success());
    for subscriber in &mut subscribers {
        assert_eq!(subscriber.closing().expect("a close frame").0, 4503);
    }
}

/// Follows all documents at whatever node is there, until it is told to end and is up to date with them.
fn follow(
    places: &Mutex<Vec<SocketAddr>>,
    nth: usize,
    end: &AtomicBool,
    last: &Mutex<Option<BTreeMap<String, Value>>>,
) -> Told {
    let mode = if nth.is_multiple_of(2) { "patch" } else { "value" };
    let mut told = Told::default();
    for turn in 0.. {
        let at = {
            let places = places.lock().expect("no panic");
            places[(nth + turn) % places.len()]
        };
        let Ok(Ok(mut subscriber)) = Subscriber::try_connect(at, &[]) else {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        subscriber.say(&json!({"type": "hello"}));
        if !subscriber.hear().is_ok_and(|frame| frame["type"] == "welcome") {
            continue;
        }
        let since = told.cursor.as_ref().map(|cursor| json!(cursor));
        subscriber.subscribe("1", &json!({"prefix": "d"}), mode, since.as_ref());
        while let Ok(frame) = subscriber.hear() {
            if frame["type"] == "pong" {
                continue;
            }
            if !told.take(&frame) {
                told = Told::default();
                break;
            }
            if end.load(Ordering::Acquire) {
                let last = last.lock().expect("no panic").clone();
                let has: BTreeMap<String, Value> =
                    told.documents.iter().map(|(doc, (_, value))| (doc.clone(), value.clone())).collect();
                if last == Some(has) {
                    return told;
                }
            }
        }
    }
    told
}

#[test]
fn two_hundred_subscribers_on_five_nodes_end_with_the_documents_though_nodes_are_killed_and_links_cut() {
    const SUBSCRIBERS: usize = 200;
    let nodes = ["a", "b", "c", "r", "s"];
    let mut cluster = Cluster::start(
        &[("a", Master), ("b", Master), ("c", Master), ("r", Replica), ("s", Replica)],
        &[("a", "b"), ("b", "c"), ("c", "a"), ("r", "b"), ("s", "c")],
    );
    let addresses = |cluster: &Cluster| nodes.iter().map(|name| cluster.at(name)).collect::<Vec<_>>();
    let places = Arc::new(Mutex::new(addresses(&cluster)));
    let end = Arc::new(AtomicBool::new(false));
    let last: Arc<Mutex<Option<BTreeMap<String, Value>>>> = Arc::default();
    let subscribers: Vec<_> = (0..SUBSCRIBERS)
        .map(|nth| {
            let (places, end, last) = (places.clone(), end.clone(), last.clone());
            std::thread::spawn(move || follow(&places, nth, &end, &last))
        })
        .collect();
    let write = |client: &mut Client, n: usize| {
        let path = format!("/v1/docs/d{}", n % 17);
        // A node that has just been killed answers nothing.
        let headers = [("Content-Type", "application/merge-patch+json")];
        let body = json!({"n": n, "by": {format!("{}", n % 5): n}}).to_string();
        let _ = client.send("PATCH", &path, &headers, body.as_bytes());
        if n.is_multiple_of(23) {
            let _ = client.send("DELETE", &path, &[], b"");
        }
    };
    for round in 0..6 {
        for n in 0..60 {
            let name = ["a", "b", "c"][n % 3];
            write(&mut cluster.client(name), round * 60 + n);
        }
        let victim = nodes[round % nodes.len()];
        cluster.kill(victim);
        cluster.launch(victim);
        *places.lock().expect("no panic") = addresses(&cluster);
        let link = cluster.link("a", "b");
        if round % 2 == 0 { link.cut() } else { link.mend() }
    }
    cluster.link("a", "b").mend();
    cluster.converge(&nodes);
    let mut documents = BTreeMap::new();
    let mut client = cluster.client("a");
    for n in 0..17 {
        let answer = client.get(&format!("/v1/docs/d{n}"));
        if answer.status == 200 {
            documents.insert(format!("d{n}"), answer.json());
        }
    }
    *last.lock().expect("no panic") = Some(documents);
    end.store(true, Ordering::Release);
    // Something to be told of, for those who have it all already: a document that is there for a moment.
    let done = || {
        let _ = client.put("/v1/docs/dz", &json!({}));
        let _ = client.send("DELETE", "/v1/docs/dz", &[], b"");
        subscribers.iter().all(|subscriber| subscriber.is_finished()).then_some(())
    };
    let mut done = done;
    eventually("all subscribers have the documents", || {
        std::thread::sleep(Duration::from_millis(100));
        done()
    });
    for subscriber in subscribers {
        subscriber.join().expect("no panic");
    }
}

#[test]
fn what_two_people_type_on_two_masters_is_followed_letter_for_letter_on_both_replicas() {
    const PATH: &str = "/v1/docs/session";
    let Some(session) = Session::load("friendsforever") else { return };
    let cluster = Cluster::start(
        &[("a", Master), ("b", Master), ("r", Replica), ("s", Replica)],
        &[("a", "b"), ("r", "a"), ("s", "b")],
    );
    let mut masters = [cluster.client("a"), cluster.client("b")];
    let root = masters[0].put(PATH, &json!({"text": {"$text": ""}})).expect(201).version();
    let followers: Vec<_> = ["r", "s"]
        .map(|name| {
            let (at, end) = (cluster.at(name), session.end_content.clone());
            std::thread::spawn(move || {
                let mut subscriber = Subscriber::greeted(at);
                let mut told = Told::default();
                let mut patches = 0;
                subscriber.subscribe("1", &json!({"doc": "session"}), "patch", None);
                hear_until(&mut subscriber, &mut told, |told, frame| {
                    patches += usize::from(frame["type"] == "patch");
                    told.value("session").is_some_and(|value| value["text"] == *end)
                });
                patches
            })
        })
        .into();
    let mut versions: Vec<String> = Vec::with_capacity(session.txns.len());
    for transaction in &session.txns {
        let parents = match &*transaction.parents {
            [] => root.clone(),
            parents => parents.iter().map(|parent| &*versions[*parent]).collect::<Vec<_>>().join(", "),
        };
        let body = operations([transaction]);
        let mut answer = None;
        // A busy machine takes its time.
        for _ in 0..10 {
            let headers = [("Content-Type", OPS), ("Parents", &*parents), ("Prefer", "wait=5")];
            let again = masters[transaction.agent].ask("PATCH", PATH, &headers, &body);
            let is_there = again.status == 200;
            answer = Some(again);
            if is_there {
                break;
            }
        }
        versions.push(answer.expect("an answer").expect(200).version());
    }
    for follower in followers {
        let patches = follower.join().expect("the text");
        assert!(patches > 1, "{patches}");
    }
}

#[test]
fn frames_in_cbor_say_the_same_with_raw_changes_as_bytes() {
    use minicbor::data::Type;
    use minicbor::{Decoder, Encoder};
    use tokio_tungstenite::tungstenite::Message;
    let cluster = Cluster::single();
    cluster.client("a").put("/v1/docs/x", &json!({"n": 1})).expect(201);
    let protocol = [("sec-websocket-protocol", "syncline.sub.v1.cbor")];
    let mut subscriber = Subscriber::connect(cluster.at("a"), &protocol).expect("a WebSocket");
    let mut say = |pairs: &[(&str, &str)], target: bool| {
        let mut e = Encoder::new(Vec::new());
        e.map((pairs.len() + usize::from(target)) as u64).expect("memory");
        for (name, value) in pairs {
            e.str(name).and_then(|e| e.str(value)).expect("memory");
        }
        if target {
            e.str("target").and_then(|e| e.map(1)?.str("doc")?.str("x")).expect("memory");
        }
        subscriber.socket.send(Message::Binary(e.into_writer().into())).expect("sent");
    };
    say(&[("type", "hello")], false);
    say(&[("type", "subscribe"), ("id", "1"), ("mode", "changes")], true);
    let mut kinds = Vec::new();
    while kinds.last().is_none_or(|kind| kind != "up-to-date") {
        let Ok(Message::Binary(frame)) = subscriber.socket.read() else { panic!("no binary frame") };
        let d = &mut Decoder::new(&frame);
        for _ in 0..d.map().expect("a map").expect("a length") {
            match d.str().expect("a name") {
                "type" => kinds.push(d.str().expect("a text").to_owned()),
                "changes" => {
                    assert_eq!(d.array().expect("a list"), Some(1));
                    assert_eq!(d.datatype().expect("a value"), Type::Bytes);
                    let change = automerge::Change::from_bytes(d.bytes().expect("bytes").to_vec());
                    assert!(change.is_ok());
                }
                _ => d.skip().expect("a value"),
            }
        }
    }
    assert_eq!(kinds, ["welcome", "subscribed", "changes", "up-to-date"]);
}
