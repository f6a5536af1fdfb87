//! Names with any number of groups: rcgen keeps one value for each attribute, a Kubernetes user may be of many groups.
//!
//! A certificate or request that rcgen made gets the wanted name in place of its own, and is signed again.

use crate::Error;
use rcgen::{KeyPair, SigningKey};
use yasna::models::ObjectIdentifier;

/// Where the subject stands in what is signed of a certificate.
pub(crate) const IN_CERTIFICATE: usize = 5;
/// Where the subject stands in what is signed of a request.
pub(crate) const IN_REQUEST: usize = 1;

/// A name: `O` for each group, then `CN`.
pub(crate) fn name(common_name: &str, organizations: &[String]) -> Vec<u8> {
    const COMMON_NAME: &[u64] = &[2, 5, 4, 3];
    const ORGANIZATION: &[u64] = &[2, 5, 4, 10];
    yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            let groups = organizations.iter().map(|group| (ORGANIZATION, group.as_str()));
            for (attribute, value) in groups.chain([(COMMON_NAME, common_name)]) {
                writer.next().write_set(|writer| {
                    writer.next().write_sequence(|writer| {
                        writer.next().write_oid(&ObjectIdentifier::from_slice(attribute));
                        writer.next().write_utf8_string(value);
                    });
                });
            }
        });
    })
}

/// `der`, a certificate or request, with another subject at `place`, signed by `key` with the algorithm that it names.
pub(crate) fn replace(der: &[u8], place: usize, subject: &[u8], key: &KeyPair) -> Result<Vec<u8>, Error> {
    let outer = children(der)?;
    let [signed, algorithm, _signature] = outer.as_slice() else { return Err(unreadable()) };
    let mut inner = children(signed)?;
    *inner.get_mut(place).ok_or_else(unreadable)? = subject.to_vec();
    let signed = sequence(&inner);
    let signature = key.sign(&signed).map_err(|source| Error::Sign { subject: "a subject".into(), source })?;
    let signature = yasna::construct_der(|writer| writer.write_bitvec_bytes(&signature, signature.len() * 8));
    Ok(sequence(&[signed, algorithm.clone(), signature]))
}

/// The elements of a sequence.
fn children(der: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    yasna::parse_der(der, |reader| reader.collect_sequence_of(|element| element.read_der())).map_err(|_| unreadable())
}

fn sequence(elements: &[Vec<u8>]) -> Vec<u8> {
    yasna::construct_der(|writer| {
        writer.write_sequence(|writer| elements.iter().for_each(|element| writer.next().write_der(element)));
    })
}

fn unreadable() -> Error {
    Error::Parse { what: "a certificate just made".into() }
}

/// As text.
pub(crate) fn to_pem(label: &str, der: Vec<u8>) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new(label, der), config)
}
