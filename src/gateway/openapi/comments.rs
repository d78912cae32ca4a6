//! What the protos say in their comments, as Markdown.

use prost_reflect::FileDescriptor;

/// The comment above what stands at a path of a file; empty where there is none.
pub(super) fn comment(file: &FileDescriptor, path: &[i32]) -> String {
    let information = file.file_descriptor_proto().source_code_info.as_ref();
    let location = information.and_then(|information| information.location.iter().find(|found| found.path == path));
    location.map(|location| joined(location.leading_comments())).unwrap_or_default()
}

/// Lines to paragraphs: where a comment breaks its lines says nothing; lists and empty lines do.
fn joined(comment: &str) -> String {
    let mut text = String::new();
    let mut within = false;
    for line in comment.lines().map(str::trim) {
        if line.is_empty() {
            within = false;
            continue;
        }
        let item = line.starts_with("- ");
        match (text.is_empty(), within, item) {
            (true, ..) => {}
            (_, true, false) => text.push(' '),
            (_, true, true) => text.push('\n'),
            (_, false, _) => text += "\n\n",
        }
        text += line;
        within = true;
    }
    text
}

/// The first sentence, without its full stop.
pub(super) fn first_sentence(text: &str) -> &str {
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    let sentence = paragraph.split(". ").next().unwrap_or_default();
    sentence.trim_end_matches('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_and_lists_stay_and_lines_do_not() {
        assert_eq!(joined(" One\n two.\n\n Three:\n - a\n   b\n - c\n"), "One two.\n\nThree:\n- a b\n- c");
        assert_eq!(joined(""), "");
    }

    #[test]
    fn a_summary_is_the_first_sentence() {
        assert_eq!(first_sentence("Makes a user. Or not.\n\nMore."), "Makes a user");
        assert_eq!(first_sentence(""), "");
    }
}
