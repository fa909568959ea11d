//! Lists in pages.

use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::error::Problem;
use crate::extract::{Pairs, ReadQuery};

/// Most items of a page.
const MAX_SIZE: u32 = 1_000;

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    /// The items of this page.
    pub items: Vec<T>,
    /// Give it as `page_token` to get the next page; absent on the last one.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(required = false, example = "cHVtcC03")]
    pub next_page_token: String,
}

/// Which page is wanted.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Most items of the page, which ends earlier at about 4 MB.
    #[param(minimum = 1, maximum = 1000, default = 100, required = false)]
    pub page_size: u32,
    /// `next_page_token` of the page before.
    #[param(required = false)]
    pub page_token: String,
}

impl ReadQuery for PageQuery {
    fn read(pairs: &Pairs) -> Result<Self, Problem> {
        let page_size = pairs.number("page_size", MAX_SIZE)?.unwrap_or_default();
        Ok(Self { page_size, page_token: pairs.text("page_token")? })
    }
}
