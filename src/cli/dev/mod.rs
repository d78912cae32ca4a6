//! `rekey dev`: everything on one machine, with demo tenants. The first command of whoever comes new.

mod guide;
mod issuer;
mod seed;
mod values;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use secrecy::ExposeSecret as _;
use tonic::transport::Endpoint;
use tracing::info;

use self::{issuer::Issuer, values::Values};
use super::{
    Flags, blocklist,
    failure::{Exit, Failure},
    installation, listen_flag, output,
    stop::Stop,
};
use crate::{
    app::{self, Environment, Service, ServiceOptions, StartError},
    config::Config,
    domain::common::COMMON,
    gateway::{self, Gateway},
};

const HELP: &str = "\
Examples:
  rekey dev
  rekey dev --data-dir /tmp/rekey --grpc-listen 127.0.0.1:0 --http-listen 127.0.0.1:0

The first start makes a keyring, a SQLite database and four tenants, one for each REST dialect; later ones find them as
they were left. Every value is in demo.env in the data directory, to be sourced by a shell. Delete the directory to
start anew. Not for production: whoever reads demo.env may do everything.";

/// Start service and gateway with demo tenants, and print requests to paste
#[derive(clap::Args, Debug)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    /// Where the service listens; port 0 picks a free one [default: 127.0.0.1:50051]
    #[arg(long, value_name = "ADDRESS")]
    grpc_listen: Option<SocketAddr>,
    /// Where the gateway listens; port 0 picks a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    http_listen: Option<SocketAddr>,
}

impl Arguments {
    pub(super) fn flags(&self) -> Flags {
        let mut flags = listen_flag("grpc.listen", self.grpc_listen);
        flags.extend(listen_flag("gateway.listen", self.http_listen));
        flags
    }
}

pub(super) async fn run(config: Config) -> Result<(), Failure> {
    let stop = Stop::listen()?;
    let environment = Environment::system();
    let mut options = ServiceOptions { reflection: true, tls: None, ..config.service()? };
    installation::make_data_directory(&config)?;
    if options.blocklist.is_none() {
        // A small one: what is published is larger than anybody wants to wait for here.
        let list = config.data_dir.join("breached.rekey");
        blocklist::make(&list, COMMON.lines())?;
        options.blocklist = Some(list);
    }
    let file = config.data_dir.join("demo.env");
    let (mut values, issuer) = install(&config, &options, &environment).await?;

    let service = Service::start(options, environment.clone(), true).await?;
    let grpc = reachable(service.address());
    let upstream = Endpoint::from_shared(format!("http://{grpc}"))
        .map_err(|cause| Failure::new(Exit::Failed, format!("http://{grpc}: {cause}")))?;
    if values.seeded {
        seed::check(&upstream, &values, &config.data_dir).await?;
    } else {
        seed::sow(&upstream, &values, &issuer).await?;
        values.seeded = true;
    }

    let mut options = config.gateway()?;
    options.upstream = upstream;
    options.identity = gateway::identity(&values.rekey_gateway_token);
    options.docs = true;
    let address = options.listen;
    let gateway = Gateway::start(options).await.map_err(|cause| StartError::Listen { address, cause })?;

    values.rekey_grpc = grpc.to_string();
    values.rekey_http = format!("http://{}", reachable(gateway.address()));
    values.ocariot_admin_token = issuer.sign(environment.clock.now())?;
    values.write(&file)?;
    info!(grpc = %service.address(), http = %gateway.address(), "ready");
    output::line(&guide::text(&values, &file));

    stop.then(config.drain(), async {
        gateway.stop().await;
        service.stop().await;
    })
    .await
}

/// The values of an earlier start, or new ones with a new installation. They are on disk before anything is made of
/// them, so that a start that was interrupted is completed by the next with the same ones.
#[expect(clippy::disallowed_methods, reason = "the administrator's token goes where whoever tries things finds it")]
async fn install(
    config: &Config,
    options: &ServiceOptions,
    environment: &Environment,
) -> Result<(Values, Issuer), Failure> {
    let file = config.data_dir.join("demo.env");
    let key = config.data_dir.join("ocariot-issuer.pem");
    let mut values = if let Some(values) = Values::read(&file)? {
        values
    } else {
        let values = Values::make(environment);
        values.write(&file)?;
        values
    };
    let issuer = Issuer::find_or_make(&key)?;
    if values.rekey_admin_token.is_empty() {
        if installation::exists(config).await? {
            let sentence = "the database holds an installation whose administrator's token is not in demo.env: delete the \
                            data directory to start anew, or name another database";
            return Err(Failure::new(Exit::Database, sentence));
        }
        installation::make_keyring(config, environment)?;
        app::initialise(options, environment).await?.expose_secret().clone_into(&mut values.rekey_admin_token);
        values.write(&file)?;
    }
    Ok((values, issuer))
}

/// Where to reach what listens here: `0.0.0.0` is every address, and no address to call.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        IpAddr::V4(_) | IpAddr::V6(_) => address.ip(),
    };
    SocketAddr::new(ip, address.port())
}
