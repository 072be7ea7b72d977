//! Documents patched: RFC 6902 and the examples of RFC 7396.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Answer, Site, call, site};

const JSON_PATCH: (&str, &str) = ("content-type", "application/json-patch+json");

impl Site {
    async fn json_patch(&self, path: &str, body: impl Into<String>) -> Answer {
        self.ask(call("PATCH", path, &[JSON_PATCH], body.into())).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_json_patch_is_one_change_or_none() {
    let site = site();
    site.put("/v1/docs/a", r#"{"list": ["a"], "old": {"$text": "x"}}"#).await.ok(201);
    let before = site.get("/v1/docs/a").await;
    let failing = r#"[{"op": "add", "path": "/new", "value": {}}, {"op": "remove", "path": "/none"}]"#;
    assert_eq!(site.json_patch("/v1/docs/a", failing).await.problem(422, "refused")["pointer"], "/none");
    assert_eq!(site.get("/v1/docs/a").await.header("version"), before.header("version"));
    let patch = r#"[{"op": "test", "path": "/old", "value": "x"}, {"op": "move", "from": "/old", "path": "/new"},
                    {"op": "add", "path": "/list/-", "value": {"b": 1}}]"#;
    let patched = site.json_patch("/v1/docs/a", patch).await.ok(200);
    let read = site.get("/v1/docs/a?typed=true").await;
    assert_eq!(read.json(), json!({"list": ["a", {"b": 1}], "new": {"$text": "x"}}));
    assert_eq!(read.header("version"), patched.header("version"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_test_is_409_and_changes_nothing() {
    let site = site();
    site.put("/v1/docs/a", r#"{"a": 1}"#).await.ok(201);
    let patch = |value: u8| {
        let test = json!({"op": "test", "path": "/a", "value": value});
        json!([{"op": "add", "path": "/b", "value": {}}, test]).to_string()
    };
    let problem = site.json_patch("/v1/docs/a", patch(2)).await.problem(409, "test-failed");
    assert_eq!(problem["pointer"], "/a");
    assert_eq!(site.get("/v1/docs/a").await.json(), json!({"a": 1}));
    site.json_patch("/v1/docs/a", patch(1)).await.ok(200);
    assert_eq!(site.get("/v1/docs/a").await.json(), json!({"a": 1, "b": {}}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_json_patch_wants_a_document_that_is_there() {
    let site = site();
    let patch = r#"[{"op": "add", "path": "/a", "value": 1}]"#;
    site.json_patch("/v1/docs/a", patch).await.problem(404, "not-found");
    site.get("/v1/docs/a").await.problem(404, "not-found");
    site.put("/v1/docs/a", "{}").await.ok(201);
    assert_eq!(site.json_patch("/v1/docs/a", patch).await.ok(200).json()["created"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_json_patch_is_made_at_its_parents_and_merged() {
    let site = site();
    let read = site.put("/v1/docs/a", r#"{"a": 1, "list": ["x"]}"#).await.ok(201);
    site.patch("/v1/docs/a", r#"{"a": 2, "list": ["new", "x"]}"#).await.ok(200);
    let patch =
        r#"[{"op": "test", "path": "/a", "value": 1}, {"op": "add", "path": "/list/1", "value": "y"}]"#;
    site.json_patch("/v1/docs/a", patch).await.problem(409, "test-failed");
    let headers = [JSON_PATCH, ("parents", read.header("version"))];
    site.ask(call("PATCH", "/v1/docs/a", &headers, patch)).await.ok(200);
    assert_eq!(site.get("/v1/docs/a").await.json(), json!({"a": 2, "list": ["new", "x", "y"]}));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_json_patch_is_422() {
    let site = site();
    site.put("/v1/docs/a", "{}").await.ok(201);
    let patches = ["{}", "[1]", r#"[{"op": "spin", "path": ""}]"#, r#"[{"op": "remove", "path": "a"}]"#];
    for patch in patches {
        assert!(site.json_patch("/v1/docs/a", patch).await.problem(422, "refused")["pointer"].is_string());
    }
    site.json_patch("/v1/docs/a", "[").await.problem(400, "not-json");
    site.json_patch("/v1/docs/a", "[]").await.ok(200);
}

/// Text of each case's patch: the second of two equal members is lost once it is read.
fn cases(text: &str) -> Vec<(Value, String)> {
    let cases: Vec<Value> = serde_json::from_str(text).expect("a list of cases");
    let twice = r#"{ "op": "add", "path": "/baz", "value": "qux", "op": "remove" }"#;
    let with_text = |case: Value| {
        let lost = case["error"] == "operation has two 'op' members";
        assert!(!lost || text.contains(twice));
        let patch = if lost { format!("[{twice}]") } else { case["patch"].to_string() };
        (case, patch)
    };
    cases.into_iter().map(with_text).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tests_of_rfc_6902_pass() {
    const FILE: &str = "json-patch-spec-tests.json";
    let Some(folder) = std::env::var_os("SYNCLINE_DATA") else {
        eprintln!("SKIPPED: {FILE}, since SYNCLINE_DATA does not say where it is");
        return;
    };
    let path = PathBuf::from(folder).join(FILE);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let site = site();
    let (mut run, mut no_objects) = (0, 0);
    for (number, (case, patch)) in cases(&text).into_iter().enumerate() {
        let comment = &case["comment"];
        if !case["doc"].is_object() {
            no_objects += 1;
            continue;
        }
        let at = format!("/v1/docs/rfc/{number}");
        site.put(&at, &case["doc"].to_string()).await.ok(201);
        let answer = site.json_patch(&at, patch).await;
        let after = site.get(&at).await.json();
        match case.get("expected") {
            Some(expected) => {
                assert_eq!(answer.status.as_u16(), 200, "{comment}: {:?}", answer.body);
                assert_eq!(after, *expected, "{comment}");
            }
            None => {
                assert!(matches!(answer.status.as_u16(), 409 | 422), "{comment}: {:?}", answer.body);
                assert_eq!(after, case["doc"], "{comment}");
            }
        }
        run += 1;
    }
    assert_eq!((run, no_objects), (17, 0));
}

/// Appendix A: document, patch, result. Here a document is always an object: so where the original is none it
/// is put into a member, and so is the patch; and where only the patch is none, it is refused.
#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_rfc_7396_do_as_they_say() {
    let examples = [
        (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
        (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
        (r#"{"a":"b"}"#, r#"{"a":null}"#, "{}"),
        (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
        (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
        (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
        (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
        (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
        (r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#),
        (r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#),
        (r#"{"a":"foo"}"#, "null", "null"),
        (r#"{"a":"foo"}"#, r#""bar""#, r#""bar""#),
        (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
        ("[1,2]", r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
        ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
    ];
    let site = site();
    let (mut whole, mut in_a_member, mut refused) = (0, 0, 0);
    for (number, (original, patch, result)) in examples.into_iter().enumerate() {
        let at = format!("/v1/docs/rfc/{number}");
        let (original, patch, result): (Value, Value, Value) = (
            serde_json::from_str(original).expect("JSON"),
            serde_json::from_str(patch).expect("JSON"),
            serde_json::from_str(result).expect("JSON"),
        );
        if original.is_object() && patch.is_object() {
            site.put(&at, &original.to_string()).await.ok(201);
            site.patch(&at, &patch.to_string()).await.ok(200);
            assert_eq!(site.get(&at).await.json(), result, "{patch}");
            whole += 1;
            continue;
        }
        if original.is_object() {
            site.put(&at, &original.to_string()).await.ok(201);
            site.patch(&at, &patch.to_string()).await.problem(422, "refused");
            assert_eq!(site.get(&at).await.json(), original);
            refused += 1;
        }
        let at = format!("{at}/member");
        site.put(&at, &json!({"in": original}).to_string()).await.ok(201);
        site.patch(&at, &json!({"in": patch}).to_string()).await.ok(200);
        let wanted = if patch.is_null() { json!({}) } else { json!({"in": result}) };
        assert_eq!(site.get(&at).await.json(), wanted, "{patch}");
        in_a_member += 1;
    }
    assert_eq!((whole, in_a_member, refused), (10, 5, 3));
}
