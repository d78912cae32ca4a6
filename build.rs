//! Compiles `proto/` without `protoc`: the prost and tonic code, the descriptor set that reflection, JSON and the
//! permission table read, and a `Debug` that leaves out every field marked `debug_redact`.

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

    let mut config = tonic_prost_build::Config::new();
    config.skip_debug(redacted.paths());
    tonic_prost_build::configure()
        .codec_path("crate::proto::codec::StrictCodec")
        .compile_fds_with_config(compiler.file_descriptor_set(), config)?;
    Ok(())
}

/// The messages that hold a field marked `debug_redact`, and their oneofs.
struct Redacted {
    messages: Vec<MessageDescriptor>,
    oneofs: Vec<OneofDescriptor>,
}

impl Redacted {
    fn find(pool: &DescriptorPool) -> Self {
        let ours =
            || pool.all_messages().filter(|message| message.package_name() == PACKAGE && !message.is_map_entry());
        let messages: Vec<_> = ours().filter(|message| message.fields().any(|field| is_redacted(&field))).collect();
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
