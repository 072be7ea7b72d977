//! Changes and heads, materialisation, edits, JSON ⇄ Automerge. No I/O, no clock.
