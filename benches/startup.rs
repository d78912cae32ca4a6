//! How long `rekey dev` takes to be ready on a directory that was made before, and one reset of each of the four kinds,
//! over REST and over gRPC, in one run, one at a time.
//!
//! `cargo bench --bench startup`. A reset that hashes takes as long as Argon2id does; the others show the rest.

#![expect(clippy::unwrap_used, reason = "a benchmark stops at the first surprise")]
#![expect(clippy::print_stdout, reason = "the figures are what it is for")]
#![expect(clippy::disallowed_methods, reason = "it measures")]
#![expect(clippy::indexing_slicing, reason = "of variables that demo.env has")]

use std::{
    collections::HashMap,
    fs,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant, SystemTime},
};

use aws_lc_rs::hmac;
use data_encoding::BASE64;
use rekey::proto::{
    ChangePasswordRequest, GenerateSecret, ResetAuthenticationRequest, ResetIntegrationRequest, ResetPasswordRequest,
    change_password_request, device_service_client::DeviceServiceClient,
    integration_service_client::IntegrationServiceClient, reset_authentication_request, reset_password_request,
    user_service_client::UserServiceClient,
};
use tonic::{Request, transport::Channel};

const STARTS: usize = 11;
const REQUESTS: usize = 51;

type Values = HashMap<String, String>;

fn main() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let (first, dev) = start(&data);
    stop(dev);
    println!("ready for the first time, with keys and tenants to make: {:.0} ms", millis(first));

    let mut times = Vec::new();
    for _ in 0..STARTS {
        let (time, dev) = start(&data);
        times.push(time);
        stop(dev);
    }
    println!(
        "ready on a directory that was made before:               {:.0} ms (median of {STARTS})",
        millis(median(times))
    );

    let (_, dev) = start(&data);
    let values = values(&data);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    println!("one request, in ms (median of {REQUESTS}, one at a time)      REST   gRPC");
    runtime.block_on(requests(&values));
    // Its connections with it, or the service waits for them.
    drop(runtime);
    stop(dev);
}

/// Starts `rekey dev`; how long it took until it said that it is ready.
fn start(data: &Path) -> (Duration, Child) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rekey"));
    command.args(["dev", "--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--log-level", "warn"]);
    command.arg("--data-dir").arg(data).stdout(Stdio::piped());
    let begin = Instant::now();
    let mut dev = command.spawn().unwrap();
    let mut output = BufReader::new(dev.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let time = begin.elapsed();
    assert!(line.starts_with("Rekey is ready"), "{line}");
    // The rest of what it prints, so that it need not wait for a reader.
    std::thread::spawn(move || output.read_to_end(&mut Vec::new()));
    (time, dev)
}

fn stop(mut dev: Child) {
    Command::new("kill").args(["-TERM", &dev.id().to_string()]).status().unwrap();
    assert!(dev.wait().unwrap().success());
}

fn values(data: &Path) -> Values {
    let text = fs::read_to_string(data.join("demo.env")).unwrap();
    let assignments = text.lines().filter_map(|line| line.split_once('='));
    assignments.map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned())).collect()
}

async fn requests(values: &Values) {
    let client = reqwest::Client::new();
    let channel = Channel::from_shared(format!("http://{}", values["REKEY_GRPC"])).unwrap().connect().await.unwrap();
    let http = &values["REKEY_HTTP"];

    let url = format!("{http}/v1/organizations/{}/integrations/harmony-mobile/", values["APPLIVERY_ORGANIZATION_ID"]);
    let rest = time(async || send(client.delete(&url).bearer_auth(&values["APPLIVERY_TOKEN"])).await).await;
    let message = ResetIntegrationRequest {
        tenant_id: "applivery".to_owned(),
        integration_id: "harmony-mobile".to_owned(),
        etag: String::new(),
        ..Default::default()
    };
    let integrations = IntegrationServiceClient::new(channel.clone());
    let grpc = time(async || {
        integrations.clone().reset_integration(with_token(values, message.clone())).await.unwrap();
    });
    row("applivery      reset an integration", rest, grpc.await);

    let url = format!("{http}/v2/proj01/link/instances/inst01/devices/{}/authentication", values["ROMA_DEVICE_ID"]);
    let rest =
        time(async || send(client.put(&url).header("x-auth-token", &values["ROMA_TOKEN"]).body("{}")).await).await;
    let message = ResetAuthenticationRequest {
        tenant_id: "roma".to_owned(),
        device_id: values["ROMA_DEVICE_ID"].clone(),
        secret_source: Some(reset_authentication_request::SecretSource::Generate(GenerateSecret::default())),
        ..ResetAuthenticationRequest::default()
    };
    let devices = DeviceServiceClient::new(channel.clone());
    let grpc = time(async || {
        devices.clone().reset_authentication(with_token(values, message.clone())).await.unwrap();
    });
    row("roma           reset a device", rest, grpc.await);

    let user = &values["OCARIOT_USER_ID"];
    let url = format!("{http}/v1/users/{user}/reset-password");
    let rest = time(async || {
        let request = client.post(&url).bearer_auth(&values["OCARIOT_ADMIN_TOKEN"]);
        send(request.body(r#"{"new_password":"correct horse battery staple"}"#)).await;
    });
    let rest = rest.await;
    let message = ResetPasswordRequest {
        tenant_id: "ocariot".to_owned(),
        user_id: user.clone(),
        secret_source: Some(reset_password_request::SecretSource::NewPassword(
            "correct horse battery staple".to_owned(),
        )),
        etag: String::new(),
        ..Default::default()
    };
    let users = UserServiceClient::new(channel);
    let grpc = time(async || {
        users.clone().reset_password(with_token(values, message.clone())).await.unwrap();
    });
    row("ocariot        reset a password (one hash)", rest, grpc.await);

    let rest = time(async || send(signed(&client, values)).await).await;
    let password = &values["LICENSESPRING_PASSWORD"];
    let message = ChangePasswordRequest {
        tenant_id: "licensespring".to_owned(),
        subject: Some(change_password_request::Subject::Username(values["LICENSESPRING_USERNAME"].clone())),
        current_password: password.clone(),
        new_password: password.clone(),
        source: String::new(),
        ..Default::default()
    };
    let grpc = time(async || {
        users.clone().change_password(with_token(values, message.clone())).await.unwrap();
    });
    row("licensespring  change a password (two hashes)", rest, grpc.await);
}

fn signed(client: &reqwest::Client, values: &Values) -> reqwest::RequestBuilder {
    let date = httpdate::fmt_http_date(SystemTime::now());
    let key = hmac::Key::new(hmac::HMAC_SHA256, values["LICENSESPRING_SHARED_KEY"].as_bytes());
    let signature = BASE64.encode(hmac::sign(&key, format!("licenseSpring\ndate: {date}").as_bytes()).as_ref());
    let api_key = &values["LICENSESPRING_API_KEY"];
    let authorization = format!(r#"algorithm="hmac-sha256",headers="date",signature="{signature}",apiKey="{api_key}""#);
    let (user, password) = (&values["LICENSESPRING_USERNAME"], &values["LICENSESPRING_PASSWORD"]);
    client
        .post(format!("{}/api/v4/change_password", values["REKEY_HTTP"]))
        .header("date", date)
        .header("authorization", authorization)
        .body(format!(r#"{{"username":"{user}","password":"{password}","new_password":"{password}"}}"#))
}

async fn send(request: reqwest::RequestBuilder) {
    let answer = request.header("content-type", "application/json").send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.status());
    answer.bytes().await.unwrap();
}

fn with_token<T>(values: &Values, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {}", values["REKEY_ADMIN_TOKEN"]).parse().unwrap());
    request
}

async fn time(request: impl AsyncFn()) -> Duration {
    // Once to open connections.
    request().await;
    let mut times = Vec::new();
    for _ in 0..REQUESTS {
        let begin = Instant::now();
        request().await;
        times.push(begin.elapsed());
    }
    median(times)
}

fn row(what: &str, rest: Duration, grpc: Duration) {
    println!("  {what:<52} {:>6.2} {:>6.2}", millis(rest), millis(grpc));
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
