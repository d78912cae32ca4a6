//! Compiles `proto/` without `protoc`: the prost and tonic code, the descriptor set that reflection, JSON and the
//! permission table read, a `Debug` that leaves out every field marked `debug_redact`, and what the API's wrapper reads
//! of every request and takes out of an answer.

use std::{env, fmt::Write as _, fs, path::PathBuf};

use prost_reflect::{DescriptorPool, FieldDescriptor, MessageDescriptor, OneofDescriptor};

const PACKAGE: &str = "rekey.v1";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(env::var("OUT_DIR")?);

    let mut files: Vec<PathBuf> =
        fs::read_dir("proto/rekey/v1")?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    files.sort();
    // Not imported by ours, but the details of every error: JSON needs to know them.
    files.push("proto/google/rpc/error_details.proto".into());
    files.push("proto/google/rpc/status.proto".into());

    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true).open_files(files)?;
    fs::write(out.join("descriptor.bin"), compiler.encode_file_descriptor_set())?;

    let pool = compiler.descriptor_pool();
    let redacted = Redacted::find(&pool);
    fs::write(out.join("redacted_debug.rs"), redacted.implementations())?;

    fs::write(out.join("messages.rs"), requests(&pool) + &answers(&pool))?;

    let mut config = tonic_prost_build::Config::new();
    // In the order of their keys, so that a message has one encoding: repetitions are known and answered by it.
    config.btree_map([format!(".{PACKAGE}")]);
    config.skip_debug(redacted.paths());
    tonic_prost_build::configure()
        .codec_path("crate::proto::codec::StrictCodec")
        .compile_fds_with_config(compiler.file_descriptor_set(), config)?;
    Ok(())
}

fn ours(pool: &DescriptorPool) -> impl Iterator<Item = MessageDescriptor> {
    pool.all_messages().filter(|message| message.package_name() == PACKAGE && !message.is_map_entry())
}

/// `Asked` for every request.
fn requests(pool: &DescriptorPool) -> String {
    let mut code = String::new();
    for message in ours(pool).filter(|message| message.name().ends_with("Request")) {
        let has = |name| message.get_field_by_name(name).is_some();
        let request_id = if has("request_id") { "Some(&mut self.request_id)" } else { "None" };
        let validate_only = if has("validate_only") { "self.validate_only" } else { "false" };
        let _ = writeln!(
            code,
            "impl super::Asked for {} {{ \
             fn request_id(&mut self) -> Option<&mut String> {{ {request_id} }} \
             fn validate_only(&self) -> bool {{ {validate_only} }} }}",
            message.name()
        );
    }
    code
}

/// `Answered` for every answer, and for what in one holds a secret.
fn answers(pool: &DescriptorPool) -> String {
    let mut messages: Vec<_> = ours(pool).filter(|message| message.name().ends_with("Response")).collect();
    let mut code = String::new();
    let mut next = 0;
    while let Some(message) = messages.get(next).cloned() {
        next += 1;
        let mut body = String::new();
        for field in message.fields() {
            let (name, kind) = (field.name(), field.kind());
            let inner = kind.as_message().filter(|inner| holds_secret(inner));
            let secret = is_redacted(&field);
            assert!(!in_oneof(&field) || inner.is_none() && !secret, "{}: a secret in a oneof", field.full_name());
            if secret {
                let _ = write!(body, "self.{name} = ::core::default::Default::default();");
            } else if let Some(inner) = inner {
                // A list and an `Option` are walked over alike.
                let _ = write!(body, "self.{name}.iter_mut().for_each(super::Answered::clear_secrets);");
                if !messages.contains(inner) {
                    messages.push(inner.clone());
                }
            }
        }
        let name = message.name();
        let _ = writeln!(code, "impl super::Answered for {name} {{ fn clear_secrets(&mut self) {{ {body} }} }}");
    }
    code
}

/// Whether a message, or one in it, has a field marked `debug_redact`.
fn holds_secret(message: &MessageDescriptor) -> bool {
    message.fields().any(|field| is_redacted(&field) || field.kind().as_message().is_some_and(holds_secret))
}

/// The messages that hold a field marked `debug_redact`, and their oneofs.
struct Redacted {
    messages: Vec<MessageDescriptor>,
    oneofs: Vec<OneofDescriptor>,
}

impl Redacted {
    fn find(pool: &DescriptorPool) -> Self {
        let messages: Vec<_> = ours(pool).filter(|message| message.fields().any(|field| is_redacted(&field))).collect();
        // To skip a message's Debug is, for prost, to skip that of its oneofs too.
        let oneofs = messages.iter().flat_map(|message| message.oneofs().collect::<Vec<_>>());
        let oneofs = oneofs.filter(|oneof| !oneof.is_synthetic()).collect();
        Self { messages, oneofs }
    }

    fn paths(&self) -> Vec<String> {
        self.messages.iter().map(|message| format!(".{}", message.full_name())).collect()
    }

    fn implementations(&self) -> String {
        let mut code = String::new();
        for message in &self.messages {
            let name = message.name();
            let mut body = format!("f.debug_struct({name:?})");
            for oneof in message.oneofs().filter(|oneof| !oneof.is_synthetic()) {
                let _ = write!(body, ".field({0:?}, &self.{0})", oneof.name());
            }
            for field in message.fields().filter(|field| !in_oneof(field)) {
                let value = if is_redacted(&field) { "&REDACTED".into() } else { format!("&self.{}", field.name()) };
                let _ = write!(body, ".field({:?}, {value})", field.name());
            }
            code += &debug(name, &format!("{body}.finish()"));
        }
        for oneof in &self.oneofs {
            let mut arms = String::new();
            for field in oneof.fields() {
                let variant = camel(field.name());
                let (binding, value) = if is_redacted(&field) { ("_", "&REDACTED") } else { ("value", "value") };
                let _ =
                    write!(arms, "Self::{variant}({binding}) => f.debug_tuple({variant:?}).field({value}).finish(),");
            }
            let name = format!("{}::{}", snake(oneof.parent_message().name()), camel(oneof.name()));
            code += &debug(&name, &format!("match self {{ {arms} }}"));
        }
        code
    }
}

fn debug(name: &str, body: &str) -> String {
    format!(
        "impl ::core::fmt::Debug for {name} {{ fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {{ {body} }} }}\n"
    )
}

fn is_redacted(field: &FieldDescriptor) -> bool {
    field.options().get_field_by_name("debug_redact").and_then(|value| value.as_bool()).unwrap_or(false)
}

fn in_oneof(field: &FieldDescriptor) -> bool {
    field.containing_oneof().is_some_and(|oneof| !oneof.is_synthetic())
}

fn camel(name: &str) -> String {
    name.split('_').map(|word| word[..1].to_uppercase() + &word[1..]).collect()
}

fn snake(name: &str) -> String {
    let mut snake = String::new();
    for (index, letter) in name.char_indices() {
        if letter.is_uppercase() && index > 0 {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}
