//! A client of the REST interface, as far as the judges need it.

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

/// A client with the administrator's token.
#[derive(Clone)]
pub struct Rest {
    client: reqwest::Client,
    base: String,
    token: String,
    tenant: String,
}

/// The balance of a tenant.
#[derive(Debug, Clone, Default, serde::Deserialize, serde::Serialize)]
pub struct Ledger {
    /// Acknowledged into the log.
    pub accepted: u64,
    /// Applied.
    pub stored: u64,
    /// Not understood.
    pub dead_lettered: u64,
    /// Not applied yet.
    pub pending: u64,
}

impl Rest {
    /// A client of the server at `base`.
    pub fn new(base: &str, token: &str) -> Self {
        let tenant = "default".to_owned();
        Self { client: reqwest::Client::new(), base: base.to_owned(), token: token.to_owned(), tenant }
    }

    /// The same for another tenant, which is made.
    ///
    /// # Errors
    /// When that fails.
    pub async fn with_tenant(&self, tenant: &str) -> anyhow::Result<Self> {
        self.post("/v1/tenants", &json!({ "id": tenant })).await?;
        Ok(Self { tenant: tenant.to_owned(), ..self.clone() })
    }

    /// Whether `/v1/health` answers 200.
    pub async fn is_healthy(&self) -> bool {
        let answer = self.client.get(format!("{}/v1/health", self.base)).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// What `/v1/health` says, whatever its status.
    ///
    /// # Errors
    /// When nothing answers.
    pub async fn health(&self) -> anyhow::Result<Value> {
        Ok(self.client.get(format!("{}/v1/health", self.base)).send().await?.json().await?)
    }

    /// The text of `/metrics`.
    ///
    /// # Errors
    /// When nothing answers.
    pub async fn metrics(&self) -> anyhow::Result<String> {
        Ok(self.client.get(format!("{}/metrics", self.base)).send().await?.text().await?)
    }

    /// A GET whose answer is kept as bytes.
    ///
    /// # Errors
    /// When the answer is not 200.
    pub async fn get_bytes(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        let request = self.client.get(format!("{}{path}", self.base)).bearer_auth(&self.token);
        let answer = request.header("X-Drover-Tenant", &self.tenant).send().await?;
        let status = answer.status();
        let bytes = answer.bytes().await?;
        if !status.is_success() {
            bail!("GET {path}: {status}: {}", String::from_utf8_lossy(&bytes));
        }
        Ok(bytes.into())
    }

    /// A GET whose answer is JSON.
    ///
    /// # Errors
    /// When the answer is not 200, or no JSON.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        Ok(serde_json::from_slice(&self.get_bytes(path).await?)?)
    }

    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let answer = self
            .client
            .post(format!("{}{path}", self.base))
            .bearer_auth(&self.token)
            .header("X-Drover-Tenant", &self.tenant)
            .json(body)
            .send()
            .await?;
        let status = answer.status();
        let bytes = answer.bytes().await?;
        if !status.is_success() {
            bail!("POST {path}: {status}: {}", String::from_utf8_lossy(&bytes));
        }
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// A query in SQL, whose answer is JSON.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn query(&self, sql: &str) -> anyhow::Result<Value> {
        self.post("/v1/query", &json!({ "sql": sql })).await
    }

    /// The value of a metric without labels.
    ///
    /// # Errors
    /// When nothing answers, or there is no such metric.
    pub async fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let text = self.metrics().await?;
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let value = lines.next().with_context(|| format!("no metric {name}"))?;
        Ok(value.trim().parse()?)
    }

    /// Registers a device and returns its token.
    ///
    /// # Errors
    /// When either call fails.
    pub async fn register(&self, device: &str) -> anyhow::Result<String> {
        self.post("/v1/devices", &json!({ "id": device })).await?;
        let credential =
            self.post(&format!("/v1/devices/{device}/credentials"), &json!({ "type": "token" })).await?;
        Ok(credential["secret"].as_str().context("no secret in the answer")?.to_owned())
    }

    /// The balance of the tenant.
    ///
    /// # Errors
    /// When the call fails.
    pub async fn ledger(&self) -> anyhow::Result<Ledger> {
        Ok(serde_json::from_value(self.get("/v1/ledger").await?)?)
    }
}
