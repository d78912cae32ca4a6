//! TLS on the gRPC listener, from files to a client that checks the certificate.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Command,
};

use rcgen::{CertifiedKey, generate_simple_self_signed};

use crate::process::{Ended, Place, Running};

/// A place with a certificate for this host in `chain.pem`, which vouches for itself, and its key in `key.pem`.
fn place() -> Place {
    let place = Place::new();
    place.init();
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    fs::write(place.path("chain.pem"), cert.pem()).unwrap();
    fs::write(place.path("key.pem"), signing_key.serialize_pem()).unwrap();
    place
}

fn serve(place: &Place) -> Command {
    let mut command = place.command(&["serve", "--grpc-listen", "127.0.0.1:0"]);
    command.env("REKEY_GRPC__TLS_CERTIFICATE_FILE", "chain.pem").env("REKEY_GRPC__TLS_KEY_FILE", "key.pem");
    command
}

#[test]
fn a_service_with_a_certificate_speaks_tls_and_nothing_else() {
    let place = place();
    let mut running = Running::new(serve(&place));
    let address = running.wait_for("ready").address("address");

    let ended = place.run(&["health", "--address", &format!("https://{address}"), "--ca-file", "chain.pem"]);
    assert_eq!((ended.code, ended.stdout.trim()), (0, "SERVING"), "{}", ended.stderr);

    let plain = place.run(&["health", "--address", &format!("http://{address}")]);
    assert_eq!(plain.code, 7, "{}", plain.stdout);

    // What is not TLS is told so (an alert of RFC 8446 section 6), and that is the end of it.
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = client.read_to_end(&mut answer);
    assert!(answer.is_empty() || answer[0] == 21, "{answer:?}");

    assert_eq!(running.stop().0, 0);
}

#[test]
fn what_is_no_certificate_or_not_its_key_is_told_before_anything_starts() {
    let place = place();
    let sentence = |place: &Place| {
        let Ended { code, stderr, .. } = Ended::from(serve(place).output().unwrap());
        assert_ne!(code, 0, "{stderr}");
        stderr
    };
    let key = fs::read(place.path("key.pem")).unwrap();

    let other = generate_simple_self_signed(["localhost".to_owned()]).unwrap().signing_key.serialize_pem();
    fs::write(place.path("key.pem"), other).unwrap();
    let told = sentence(&place);
    assert!(told.contains("chain.pem") && told.contains("key.pem: the key is not the certificate's"), "{told}");

    fs::write(place.path("key.pem"), "no key").unwrap();
    let told = sentence(&place);
    assert!(told.contains("the key's file holds none in PEM"), "{told}");

    fs::write(place.path("key.pem"), key).unwrap();
    fs::write(place.path("chain.pem"), "no certificate").unwrap();
    let told = sentence(&place);
    assert!(told.contains("the certificate's file holds none in PEM"), "{told}");

    fs::remove_file(place.path("chain.pem")).unwrap();
    let told = sentence(&place);
    assert!(told.contains("cannot read chain.pem"), "{told}");
}
