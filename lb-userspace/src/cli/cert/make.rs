//! Keys, certificates and signing requests of our own making.

use std::fs;
use std::path::Path;

use chrono::{DateTime, Datelike as _, Days, Utc};
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PKCS_RSA_SHA256, RsaKeySize, date_time_ymd,
};
use zeroize::Zeroizing;

use super::{CsrArgs, KeyType, SelfSignedArgs};
use crate::cli::exit::Failure;

pub(super) fn self_signed(args: &SelfSignedArgs) -> Result<String, Failure> {
    args.out.check(&["pem", "key"])?;
    let mut params = named(&args.names)?;
    let today = Utc::now();
    let end = today.checked_add_days(Days::new(args.days.into())).unwrap_or(today);
    let day = |time: DateTime<Utc>| {
        let (month, day) = (u8::try_from(time.month()).unwrap_or(1), u8::try_from(time.day()).unwrap_or(1));
        date_time_ymd(time.year(), month, day)
    };
    // A client whose clock is a little behind takes it all the same.
    params.not_before = day(today.checked_sub_days(Days::new(1)).unwrap_or(today));
    params.not_after = day(end);
    let key = generate(args.key_type)?;
    let certificate = params.self_signed(&key).map_err(|error| failed("certificate", &error))?;
    args.out.secret("key", &Zeroizing::new(key.serialize_pem()))?;
    args.out.public("pem", &certificate.pem())?;
    let pem = args.out.file("pem");
    let pem = pem.display();
    Ok(format!(
        "Wrote {pem} and {}: for {}, valid until {}.\nNobody but itself has signed it: clients trust it only where they are \
         given {pem}.\n\n{}",
        args.out.file("key").display(),
        args.names.join(", "),
        end.format("%Y-%m-%d"),
        args.out.advice()
    ))
}

pub(super) fn csr(args: &CsrArgs) -> Result<String, Failure> {
    match args.key {
        Some(_) => args.out.check(&["csr"])?,
        None => args.out.check(&["csr", "key"])?,
    }
    let mut params = named(&args.names)?;
    let mut subject = |kind, text: &Option<String>| {
        if let Some(text) = text {
            params.distinguished_name.push(kind, text.as_str());
        }
    };
    subject(DnType::OrganizationName, &args.organization);
    subject(DnType::CountryName, &args.country.as_deref().map(country).transpose()?);
    let key = match &args.key {
        Some(file) => read(file)?,
        None => generate(args.key_type)?,
    };
    let request = params.serialize_request(&key).and_then(|request| request.pem());
    let request = request.map_err(|error| failed("signing request", &error))?;
    let (file, key_file) = (args.out.file("csr"), args.key.clone().unwrap_or_else(|| args.out.file("key")));
    if args.key.is_none() {
        args.out.secret("key", &Zeroizing::new(key.serialize_pem()))?;
    }
    args.out.public("csr", &request)?;
    let wrote = match args.key {
        Some(_) => file.display().to_string(),
        None => format!("{} and {}", file.display(), key_file.display()),
    };
    Ok(format!(
        "Wrote {wrote}: for {}.\nSend {} to your certificate authority, never the key. What it sends back, with those that \
         signed it, is brought together with the key by\n\nlbctl cert import ANSWER {} --out {} --force\n",
        args.names.join(", "),
        file.display(),
        key_file.display(),
        args.out.prefix.display()
    ))
}

/// Parameters for a server with these names; the first is the common name too.
fn named(names: &[String]) -> Result<CertificateParams, Failure> {
    for name in names {
        check_name(name)?;
    }
    let mut params = CertificateParams::new(names.to_vec()).map_err(|error| failed("certificate", &error))?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    // X.520 has no room for more in a common name, and clients read the other names.
    if let Some(first) = names.first().filter(|name| name.len() <= 64) {
        params.distinguished_name.push(DnType::CommonName, first.as_str());
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

fn check_name(name: &str) -> Result<(), Failure> {
    let host = name.strip_prefix("*.").unwrap_or(name);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let is_host = host.len() <= 253 && host.split('.').all(label);
    if is_host || name.parse::<std::net::IpAddr>().is_ok() {
        return Ok(());
    }
    Err(Failure::Refused(format!(
        "{name} is neither a host nor an address: write it as clients type it, without https:// and port (letters of other \
         alphabets in their xn-- form)"
    )))
}

fn country(code: &str) -> Result<String, Failure> {
    match code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        true => Ok(code.to_ascii_uppercase()),
        false => Err(Failure::Refused(format!("the country is two letters, as DE or US; {code} is not"))),
    }
}

fn generate(kind: KeyType) -> Result<KeyPair, Failure> {
    let made = match kind {
        KeyType::Ecdsa => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
        KeyType::Rsa => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
    };
    made.map_err(|error| failed("key", &error))
}

fn read(file: &Path) -> Result<KeyPair, Failure> {
    let text = fs::read_to_string(file).map(Zeroizing::new);
    let text = text.map_err(|error| Failure::Refused(format!("{} cannot be read: {error}", file.display())))?;
    KeyPair::from_pem(&text).map_err(|_| {
        Failure::Refused(format!(
            "there is no key in {} that can be used: it has to be RSA, ECDSA or Ed25519 in PEM, not encrypted",
            file.display()
        ))
    })
}

fn failed(what: &str, error: &rcgen::Error) -> Failure {
    Failure::Refused(format!("the {what} cannot be made: {error}"))
}
