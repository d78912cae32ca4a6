//! `rekey blocklist`: the list of breached passwords, made, asked and described.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, IsTerminal as _, Read},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use clap::Subcommand;
use console::Term;
use zeroize::Zeroizing;

use super::{
    bar,
    failure::{Exit, Failure},
    output,
};
use crate::{
    blocklist::{Blocklist, Builder, Format, Info, Lines},
    domain::Password,
};

const HELP: &str = "\
Policies with `breached` refuse what is on the list that blocklist.file names, when a password is set, changed or reset;
and a password that is found on it at a login must be changed. No network is asked.

Examples:
  rekey blocklist build pwned-passwords-sha1.txt --output breached.rekey
  curl … | rekey blocklist build - --min-count 10 --output breached.rekey
  rekey blocklist build --plain rockyou.txt company-words.txt --output breached.rekey
  rekey blocklist check breached.rekey           asks for a password; 0: it is not on the list, 1: it is
  rekey blocklist info breached.rekey
  REKEY_BLOCKLIST__FILE=breached.rekey rekey serve

A list that is in use is replaced by one of the same name, which build does when it is whole; never write into one.
The service reads its list when it starts.";

/// What is shown of what has an end.
const WHOLE: &str = "{msg} {wide_bar} {percent}%, {elapsed} so far, {eta} to go";

/// Make and ask lists of breached passwords
#[derive(clap::Args, Debug)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Build(Build),
    Check(Check),
    #[command(name = "info")]
    Describe(Describe),
}

/// Make a list of what others publish: lines of SHA-1 or SHA-1:COUNT, in any case and order
///
/// Four bytes a password, in a file that is mapped into memory; 128 MiB of memory and, while it works, 8 bytes a line
/// beside the output, whatever the size: 10^9 lines take some minutes.
#[derive(clap::Args, Debug)]
struct Build {
    /// Files; `-` is standard input
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// The list to be made; it takes the place of what is there once it is whole
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Leave out what was seen less often
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "plain")]
    min_count: u64,
    /// The files hold passwords, a line each, and no hashes
    #[arg(long)]
    plain: bool,
}

/// Ask whether a password is on a list: exit code 0 where it is not, 1 where it is
///
/// The password is asked for, or read from standard input where that is no terminal: its first line.
#[derive(clap::Args, Debug)]
struct Check {
    /// The list
    #[arg(value_name = "FILE")]
    list: PathBuf,
}

/// Say what a list is: how many passwords, and how often it is wrong
#[derive(clap::Args, Debug)]
struct Describe {
    /// The list
    #[arg(value_name = "FILE")]
    list: PathBuf,
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::Build(arguments) => build(&arguments),
        Command::Check(arguments) => check(&arguments.list),
        Command::Describe(arguments) => {
            output::line(&told(open(&arguments.list)?.info()));
            Ok(())
        }
    }
}

/// Makes a list of passwords that are at hand.
pub(super) fn make<'a>(output: &Path, passwords: impl Iterator<Item = &'a str>) -> Result<(), Failure> {
    let unwritable = |cause: io::Error| cannot_write(output, &cause);
    let mut builder = Builder::new(output);
    for password in passwords.filter_map(|word| Password::parse(word.to_owned()).ok()) {
        builder.add(crate::blocklist::Fingerprint::of(&password)).map_err(unwritable)?;
    }
    builder.finish(|_| {}).map_err(unwritable).map(drop)
}

fn build(arguments: &Build) -> Result<(), Failure> {
    let unwritable = |cause: io::Error| cannot_write(&arguments.output, &cause);
    let format = if arguments.plain { Format::Plain } else { Format::Hashes };
    let sources = arguments.inputs.iter().map(|input| Source::open(input)).collect::<Result<Vec<_>, _>>()?;
    let length = sources.iter().map(|source| source.length).sum::<Option<u64>>();
    let bar = bar::bar(if length.is_some() { WHOLE } else { "{msg}, {elapsed} so far" }, "reading");
    bar.set_length(length.unwrap_or_default());
    let mut builder = Builder::new(&arguments.output);
    let (mut read, mut left_out, mut before) = (0_u64, 0, 0);
    for Source { name, reader, bytes, .. } in sources {
        let mut lines = Lines::new(reader, format, arguments.min_count);
        let refused = |sentence: String| Failure::new(Exit::Failed, format!("{name}: {sentence}; no list was made"));
        while let Some(fingerprint) = lines.next_fingerprint().map_err(refused)? {
            builder.add(fingerprint).map_err(unwritable)?;
            read += 1;
            if read.is_multiple_of(16_384) {
                bar.set_position(before + bytes.load(Ordering::Relaxed));
            }
        }
        before += bytes.load(Ordering::Relaxed);
        left_out += lines.left_out();
    }
    bar.set_style(bar::style(WHOLE));
    bar.set_message("writing");
    bar.set_length(1_000);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 1")]
    let info = builder.finish(|part| bar.set_position((part * 1_000.0) as u64)).map_err(unwritable)?;
    bar.finish_and_clear();
    let twice = read - info.entries;
    output::line(&format!("{}: {}", arguments.output.display(), told(info)));
    output::line(&format!("{read} lines taken, {twice} of them twice or more, {left_out} left out"));
    Ok(())
}

fn check(list: &Path) -> Result<(), Failure> {
    let list = open(list)?;
    let unreadable = |cause| Failure::new(Exit::Failed, format!("cannot read the password: {cause}"));
    let mut text = Zeroizing::new(String::new());
    if io::stdin().is_terminal() {
        let term = Term::stderr();
        *text = term.write_str("Password: ").and_then(|()| term.read_secure_line()).map_err(unreadable)?;
    } else {
        io::stdin().lock().read_line(&mut text).map_err(unreadable)?;
    }
    let line = text.lines().next().unwrap_or_default().to_owned();
    let password =
        Password::parse(line).map_err(|unfit| Failure::new(Exit::Failed, format!("the password {unfit}")))?;
    if list.contains(&password) {
        return Err(Failure::new(Exit::Failed, "the password is on the list"));
    }
    output::line("the password is not on the list");
    Ok(())
}

fn open(list: &Path) -> Result<Blocklist, Failure> {
    Blocklist::open(list).map_err(|sentence| Failure::new(Exit::Config, sentence))
}

fn told(info: Info) -> String {
    let Info { version, entries, bytes, false_positive_rate } = info;
    let wrong = if entries == 0 {
        "never wrong".to_owned()
    } else {
        format!("wrong about one in {:.0} others ({false_positive_rate:.1e})", 1.0 / false_positive_rate)
    };
    format!("{entries} passwords, {bytes} bytes, {wrong}, format {version}")
}

fn cannot_write(path: &Path, cause: &io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("cannot write {}: {cause}", path.display()))
}

/// A file that is read, and how much of it was.
struct Source {
    name: String,
    reader: BufReader<Box<dyn Read>>,
    length: Option<u64>,
    bytes: Arc<AtomicU64>,
}

impl Source {
    fn open(path: &Path) -> Result<Self, Failure> {
        let unreadable = |cause| Failure::new(Exit::Failed, format!("cannot read {}: {cause}", path.display()));
        let bytes = Arc::new(AtomicU64::new(0));
        let counted =
            |inner: Box<dyn Read>| -> Box<dyn Read> { Box::new(Counted { inner, bytes: Arc::clone(&bytes) }) };
        let (name, reader, length) = if path == Path::new("-") {
            ("standard input".to_owned(), counted(Box::new(io::stdin())), None)
        } else {
            let file = File::open(path).map_err(unreadable)?;
            let length = bar::length(&file).map_err(unreadable)?;
            (path.display().to_string(), counted(Box::new(file)), length)
        };
        Ok(Self { name, reader: BufReader::with_capacity(1 << 20, reader), length, bytes })
    }
}

struct Counted {
    inner: Box<dyn Read>,
    bytes: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.bytes.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}
