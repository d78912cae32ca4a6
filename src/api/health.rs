//! `grpc.health.v1`, for the server and for each service, fed by the database.

use std::time::Duration;

use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{ops::Ops, proto::DESCRIPTORS};

/// How often the database is asked.
const INTERVAL: Duration = Duration::from_secs(2);

/// Asks once, so that the first answer is a true one.
pub async fn refresh(ops: &Ops, reporter: &HealthReporter) {
    let status = match ops.check().await {
        Ok(()) => ServingStatus::Serving,
        Err(error) => {
            tracing::warn!(reason = ?error.reason(), cause = ?error.cause(), "not ready: the database does not answer");
            ServingStatus::NotServing
        }
    };
    report(reporter, status).await;
}

/// Asks again and again. Never ends.
pub async fn watch(ops: Ops, reporter: HealthReporter) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        refresh(&ops, &reporter).await;
    }
}

/// Tells everybody that no more calls are wanted.
pub async fn not_serving(reporter: &HealthReporter) {
    report(reporter, ServingStatus::NotServing).await;
}

async fn report(reporter: &HealthReporter, status: ServingStatus) {
    reporter.set_service_status("", status).await;
    for service in DESCRIPTORS.services().filter(|service| service.package_name() == "rekey.v1") {
        reporter.set_service_status(service.full_name(), status).await;
    }
}
