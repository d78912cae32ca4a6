//! `rekey keys`: the keyring's file (`file`), which works beside a service that runs or not; and what a service knows of
//! its keys (`service`), over gRPC.

pub(super) mod file;
pub(super) mod service;

pub(super) use file::add_signing_keys;

const HELP: &str = "\
Examples, a rotation of the wrapping key:
  rekey keys add --purpose wrapping      a new key, which only reads yet; give the file to all replicas
  rekey keys list                        which replicas know it? They read the file within seconds, or at SIGHUP
  rekey keys promote ID                  from now on it makes; give the file to all replicas again
  rekey keys rotate-data                 move what hangs on the older one, while everything serves
  rekey keys census                      what is left?
  rekey keys retire OLDER-ID             take it out, once nothing needs it

list, add, promote, retire and rotate work on the keyring's file, and ask the database who knows which key. census and
rotate-data ask a service, as a caller of the tenant system with keys:list and keys:rotate.";

/// Look after the keys of the keyring
#[derive(clap::Args, Debug)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(clap::Subcommand, Debug)]
pub(super) enum Command {
    #[command(flatten)]
    File(file::Command),
    #[command(flatten)]
    Service(service::Command),
}
