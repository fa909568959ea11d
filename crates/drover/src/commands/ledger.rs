//! `drover ledger`: whether everything accepted is stored, dead-lettered or on its way.

use crate::client::{Query, Target};
use crate::failure::Outcome;
use crate::output::{Column, Output, field};

const COLUMNS: &[Column] = &[
    ("ACCEPTED", |l| field(l, "/accepted")),
    ("STORED", |l| field(l, "/stored")),
    ("DEAD-LETTERED", |l| field(l, "/dead_lettered")),
    ("PENDING", |l| field(l, "/pending")),
    ("REFUSED", |l| {
        let refused = field(l, "/refused");
        if refused.is_empty() { "0".to_owned() } else { refused }
    }),
];

pub async fn run(target: &Target, output: Output) -> Outcome {
    let ledger = target.client()?.get("/v1/ledger", &Query::new()).await?;
    output.object(COLUMNS, &ledger)
}
