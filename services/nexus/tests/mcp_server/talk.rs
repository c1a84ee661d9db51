//! A client by hand, that says what it is told to.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::support::Platform;

/// A client, of either revision.
pub(crate) struct Talk {
    http: reqwest::Client,
    url: String,
    session: Option<String>,
    pub(crate) capabilities: Value,
    /// Sent along.
    pub(crate) headers: Vec<(&'static str, String)>,
    next: AtomicU64,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) status: u16,
    body: Value,
}

impl Asked {
    pub(crate) fn of(status: u16, body: Value) -> Self {
        Self { status, body }
    }

    pub(crate) fn result(&self) -> Value {
        assert!(self.body["result"].is_object(), "{self:?}");
        self.body["result"].clone()
    }

    pub(crate) fn error(&self) -> Value {
        assert!(self.body["error"].is_object(), "{self:?}");
        self.body["error"].clone()
    }
}

/// An answer in pieces.
pub(crate) struct Stream {
    response: reqwest::Response,
    text: String,
    /// The run behind it.
    pub(crate) run: String,
}

impl Stream {
    /// The next message; none at the end.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let data = event.lines().find_map(|line| line.strip_prefix("data: "));
                let message = data.map(|data| serde_json::from_str(data).unwrap());
                self.text = rest.to_owned();
                match message {
                    Some(message) => return Some(message),
                    None => continue,
                }
            }
            let chunk = self.response.chunk().await.unwrap()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

impl Talk {
    pub(crate) fn stateless(platform: &Platform) -> Self {
        Self {
            http: platform.http().clone(),
            url: platform.url("/mcp"),
            session: None,
            capabilities: json!({}),
            headers: vec![],
            next: AtomicU64::new(1),
        }
    }

    pub(crate) async fn with_handshake(platform: &Platform) -> Self {
        let mut talk = Self::stateless(platform);
        let body = json!({
            "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
                "protocolVersion": "2025-11-25", "capabilities": {},
                "clientInfo": { "name": "test", "version": "1" },
            },
        });
        let answer = talk.http.post(&talk.url).json(&body).send().await.unwrap();
        let session = answer.headers()["mcp-session-id"]
            .to_str()
            .unwrap()
            .to_owned();
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["result"]["protocolVersion"], "2025-11-25", "{body}");
        talk.session = Some(session);
        assert_eq!(
            talk.notify("notifications/initialized", json!({})).await,
            202
        );
        talk
    }

    pub(crate) async fn call(&self, tool: &str, arguments: Value) -> Asked {
        let params = json!({ "name": tool, "arguments": arguments });
        self.ask("tools/call", params).await
    }

    pub(crate) async fn ask(&self, method: &str, params: Value) -> Asked {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.ask_as(&json!(id), method, params).await
    }

    pub(crate) async fn ask_as(&self, id: &Value, method: &str, params: Value) -> Asked {
        let request = self.request(Some(id), method, params);
        let response = request
            .header("accept", "application/json")
            .send()
            .await
            .unwrap();
        let status = response.status().as_u16();
        let body: Value = response.json().await.unwrap();
        assert_eq!(&body["id"], id, "{body}");
        Asked { status, body }
    }

    pub(crate) async fn open(&self, method: &str, params: Value) -> Stream {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let request = self.request(Some(&json!(id)), method, params);
        let accept = "application/json, text/event-stream";
        let response = request.header("accept", accept).send().await.unwrap();
        let headers = response.headers();
        assert_eq!(headers["content-type"], "text/event-stream");
        let run = headers["nexus-run-id"].to_str().unwrap().to_owned();
        Stream {
            response,
            text: String::new(),
            run,
        }
    }

    pub(crate) async fn notify(&self, method: &str, params: Value) -> u16 {
        let answer = self.request(None, method, params).send().await.unwrap();
        answer.status().as_u16()
    }

    /// A request without a body; status and what is allowed.
    pub(crate) async fn bare(&self, method: &str) -> (u16, String) {
        let request = self.http.request(method.parse().unwrap(), &self.url);
        let answer = request
            .header("accept", "text/event-stream")
            .send()
            .await
            .unwrap();
        let allow = answer
            .headers()
            .get("allow")
            .map(|allow| allow.to_str().unwrap());
        (
            answer.status().as_u16(),
            allow.unwrap_or_default().to_owned(),
        )
    }

    fn request(
        &self,
        id: Option<&Value>,
        method: &str,
        mut params: Value,
    ) -> reqwest::RequestBuilder {
        let mut request = self.http.post(&self.url);
        match &self.session {
            Some(session) => {
                request = request.header("mcp-session-id", session);
                request = request.header("mcp-protocol-version", "2025-11-25");
            }
            None => {
                request = request.header("mcp-protocol-version", "2026-07-28");
                request = request.header("mcp-method", method);
                if let Some(name) = params["name"].as_str() {
                    request = request.header("mcp-name", name);
                }
                params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
                params["_meta"]["io.modelcontextprotocol/clientCapabilities"] =
                    self.capabilities.clone();
            }
        }
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let mut body = json!({ "jsonrpc": "2.0", "method": method, "params": params });
        if let Some(id) = id {
            body["id"] = id.clone();
        }
        request.json(&body)
    }
}
