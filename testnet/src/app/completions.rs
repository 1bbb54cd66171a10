//! OpenAI's chat completions, with words that say who speaks.
//!
//! A request may set how long the answer is (`max_tokens`, as OpenAI) and how fast it comes (`token_delay_ms`, ours).
//! With `stream: true` it comes as server-sent events: one `data: {…}` per token, then `data: [DONE]`. A client that
//! has not seen `[DONE]` knows that its stream was cut. `system_fingerprint` names the app in every chunk.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

/// The part of a request that matters here; the rest is ignored, as an app would ignore what it does not know.
#[derive(Debug, Clone, Deserialize)]
pub struct Request {
    /// Answered back.
    #[serde(default = "default_model")]
    pub model: String,
    /// Whether the answer is streamed.
    #[serde(default)]
    pub stream: bool,
    /// Tokens of the answer: 1 to 100 000.
    #[serde(default = "default_tokens", alias = "max_completion_tokens")]
    pub max_tokens: u32,
    /// Milliseconds from one token to the next. An answer in one piece takes as long as its tokens would.
    #[serde(default)]
    pub token_delay_ms: u64,
}

impl Request {
    /// Reads a request's body.
    pub fn parse(body: &[u8]) -> Result<Self, String> {
        let request: Self = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        if !(1..=100_000).contains(&request.max_tokens) {
            return Err(format!("max_tokens is {}; 1 to 100000 are possible", request.max_tokens));
        }
        Ok(request)
    }

    /// The pause before each token but the first.
    pub fn token_delay(&self) -> Duration {
        Duration::from_millis(self.token_delay_ms)
    }
}

fn default_model() -> String {
    "proxima-testnet".to_owned()
}

fn default_tokens() -> u32 {
    16
}

/// Token `n`, from 0, of an app's answer.
fn token(app: &str, n: u32) -> String {
    if n == 0 { format!("{app} says:") } else { format!(" {n}") }
}

/// The whole answer in one piece.
pub fn whole(app: &str, id: &str, request: &Request) -> Value {
    let content: String = (0..request.max_tokens).map(|n| token(app, n)).collect();
    json!({
        "id": id,
        "object": "chat.completion",
        "created": 0,
        "model": request.model,
        "system_fingerprint": app,
        "choices": [{
            "index": 0,
            "message": { "role": "assistant", "content": content },
            "finish_reason": "stop",
        }],
        "usage": {
            "prompt_tokens": 0,
            "completion_tokens": request.max_tokens,
            "total_tokens": request.max_tokens,
        },
    })
}

/// Event `n`, from 0, of a streamed answer; the last token's event brings the end of the stream with it.
pub fn event(app: &str, id: &str, request: &Request, n: u32) -> String {
    let last = n + 1 >= request.max_tokens;
    let chunk = json!({
        "id": id,
        "object": "chat.completion.chunk",
        "created": 0,
        "model": request.model,
        "system_fingerprint": app,
        "choices": [{
            "index": 0,
            "delta": { "content": token(app, n) },
            "finish_reason": if last { Value::from("stop") } else { Value::Null },
        }],
    });
    let done = if last { "data: [DONE]\n\n" } else { "" };
    format!("data: {chunk}\n\n{done}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_says_the_same_as_the_whole_answer_and_ends_with_done() {
        let request = Request::parse(br#"{"stream": true, "max_tokens": 5, "messages": []}"#).unwrap();
        let events: String = (0..5).map(|n| event("eu-1", "x", &request, n)).collect();
        let (chunks, done) = events.split_once("data: [DONE]\n\n").unwrap();
        assert_eq!(done, "");
        let words: String = chunks
            .split("\n\n")
            .filter_map(|chunk| chunk.strip_prefix("data: "))
            .map(|json| serde_json::from_str::<Value>(json).unwrap())
            .map(|json| json["choices"][0]["delta"]["content"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(words, "eu-1 says: 1 2 3 4");
        assert_eq!(whole("eu-1", "x", &request)["choices"][0]["message"]["content"], words.as_str());
    }

    #[test]
    fn a_request_that_cannot_be_answered_says_why() {
        assert!(Request::parse(b"{").is_err());
        assert!(Request::parse(br#"{"max_tokens": 0}"#).unwrap_err().contains("max_tokens is 0"));
    }
}
