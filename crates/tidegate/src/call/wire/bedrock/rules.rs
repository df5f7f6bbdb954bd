//! What Converse refuses of a conversation that its format can carry: found out before sending, because one refusal a row
//! would be all that a run has.
//!
//! All of these are AWS's own rules or those of a vendor's models behind it, so another model may take the request.

use crate::request::{Message, Part, Reasoning, Source};

/// Names every fault of a conversation, each with its message.
pub(super) fn broken(messages: &[Message], has_tools: bool, model: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for (i, message) in messages.iter().enumerate() {
        let mut fault = |what: &str| faults.push(format!("messages[{i}]: {what}"));
        if lonely_document(message) {
            fault("Bedrock wants a text beside a document in a message; add one");
        }
        if !reads_s3(model) && parts(message).any(in_s3) {
            fault("of Bedrock's models only Amazon Nova reads media from S3; give the bytes");
        }
        if model.contains("anthropic.") && message.parts.iter().any(unsigned) {
            fault("Claude takes no reasoning without a signature, such as another model's");
        }
    }
    let calls = |message: &Message| message.extra.contains_key("tool_calls") || message.parts.iter().any(is_tool);
    if !has_tools && let Some(i) = messages.iter().position(calls) {
        faults.push(format!(
            "messages[{i}]: Bedrock wants `tools`, and no `tool_choice` none, where messages call tools"
        ));
    }
    faults
}

/// Returns whether a model reads media from S3 by itself. What an ARN without a model's name stands for is not known.
pub(super) fn reads_s3(model: &str) -> bool {
    let named =
        !model.starts_with("arn:") || model.contains("foundation-model/") || model.contains(":inference-profile/");
    model.contains("amazon.nova") || !named
}

/// Yields a message's parts, those in results of tools too.
fn parts(message: &Message) -> impl Iterator<Item = &Part> {
    message.parts.iter().flat_map(|part| {
        let inner = match part {
            Part::ToolResult(result) => &result.content[..],
            _ => &[],
        };
        std::iter::once(part).chain(inner)
    })
}

fn lonely_document(message: &Message) -> bool {
    let is_text = |part: &Part| matches!(part, Part::Text(text) if !text.trim().is_empty());
    message.parts.iter().any(|part| matches!(part, Part::Document(_))) && !message.parts.iter().any(is_text)
}

fn in_s3(part: &Part) -> bool {
    part.as_media().is_some_and(|(_, media)| matches!(media.source, Source::S3 { .. }))
}

fn unsigned(part: &Part) -> bool {
    matches!(part, Part::Reasoning(Reasoning::Text { signature: None, .. }))
}

fn is_tool(part: &Part) -> bool {
    matches!(part, Part::ToolUse(_) | Part::ToolResult(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Media, MediaKind, ToolResult};

    const CLAUDE: &str = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0";

    fn faults(message: Message, model: &str) -> Vec<String> {
        broken(&[Message::user().text("hi"), message], true, model)
    }

    #[test]
    fn a_document_wants_a_text_beside_it() {
        let pdf =
            || Message::user().media(MediaKind::Document, Media::bytes(&b"%PDF-1.7"[..], Some("a.pdf"), None).unwrap());
        assert_eq!(
            faults(pdf(), CLAUDE),
            ["messages[1]: Bedrock wants a text beside a document in a message; add one"]
        );
        assert_eq!(faults(pdf().text(" \n"), CLAUDE).len(), 1);
        assert_eq!(faults(pdf().text("total?"), CLAUDE), Vec::<String>::new());
    }

    #[test]
    fn only_nova_reads_from_s3() {
        let image = || Message::user().text("what?").media(MediaKind::Image, Media::s3("s3://b/a.png"));
        let inner = ToolResult { content: image().parts, ..ToolResult::default() };
        for model in
            [CLAUDE, "meta.llama4-scout-17b-instruct-v1:0", "arn:aws:bedrock:us-east-1:1:inference-profile/us.meta.x"]
        {
            assert_eq!(faults(image(), model).len(), 1, "{model}");
            assert_eq!(faults(Message::user().part(Part::ToolResult(inner.clone())), model).len(), 1, "{model}");
        }
        for model in ["us.amazon.nova-lite-v1:0", "arn:aws:bedrock:us-east-1:1:application-inference-profile/abc"] {
            assert_eq!(faults(image(), model), Vec::<String>::new(), "{model}");
        }
    }

    #[test]
    fn claude_wants_signed_reasoning_and_others_have_none() {
        let thought = |signature: Option<&str>| {
            let signature = signature.map(str::to_owned);
            Message::assistant().part(Part::Reasoning(Reasoning::Text { text: "hm".to_owned(), signature }))
        };
        assert_eq!(faults(thought(None), CLAUDE).len(), 1);
        assert_eq!(faults(thought(Some("s")), CLAUDE), Vec::<String>::new());
        assert_eq!(faults(thought(None), "deepseek.v3-v1:0"), Vec::<String>::new());
    }

    #[test]
    fn tools_that_were_called_are_defined_again() {
        let result = Message::user().part(Part::ToolResult(ToolResult::default()));
        assert_eq!(broken(std::slice::from_ref(&result), true, CLAUDE), Vec::<String>::new());
        let faults = broken(&[Message::user().text("hi"), result], false, CLAUDE);
        assert_eq!(
            faults,
            ["messages[1]: Bedrock wants `tools`, and no `tool_choice` none, where messages call tools"]
        );
    }
}
