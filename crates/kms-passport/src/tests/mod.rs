//! Facts about parsers and verdicts; `test/passport` has those about the service.

mod canonical;
mod claims;
mod hostile;
mod own_vectors;
mod replay;
mod support;
mod time;
mod verdicts;
