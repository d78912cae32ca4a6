//! No bytes that are taken for a request panic, and what is shown of one for a log is bounded work.

#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message;
use rekey::proto::{
    BatchVerifyPasswordsRequest, ChangePasswordRequest, CreateCallerRequest,
    CreateDeviceRequest, CreateTenantRequest, CreateUserRequest, ImportUsersRequest, ResetPasswordRequest,
    UpdateIntegrationRequest, UpdateTenantRequest, VerifyAuthenticationRequest, VerifyPasswordRequest,
};

fn decode<M: Message + Default + std::fmt::Debug>(bytes: &[u8]) {
    if let Ok(message) = M::decode(bytes) {
        let again: M = M::decode(&*message.encode_to_vec()).expect("what was written is read");
        assert_eq!(message.encoded_len(), again.encoded_len());
        let _shown = format!("{message:?}");
    }
}

fuzz_target!(|input: (u8, &[u8])| {
    let (which, bytes) = input;
    [
        decode::<BatchVerifyPasswordsRequest>,
        decode::<ChangePasswordRequest>,
        decode::<CreateCallerRequest>,
        decode::<CreateDeviceRequest>,
        decode::<CreateTenantRequest>,
        decode::<CreateUserRequest>,
        decode::<ImportUsersRequest>,
        decode::<ResetPasswordRequest>,
        decode::<UpdateIntegrationRequest>,
        decode::<UpdateTenantRequest>,
        decode::<VerifyAuthenticationRequest>,
        decode::<VerifyPasswordRequest>,
    ][usize::from(which) % 12](bytes);
});
