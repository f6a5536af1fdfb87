//! Keys of service-account tokens: one that signs, some that verify, and their public form (JWKS).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Why a key is unusable.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The signing key cannot be read.
    #[error("the service-account signing key is neither an RSA nor an EC private key in PEM form")]
    Signing(#[source] jsonwebtoken::errors::Error),
    /// A public key cannot be read.
    #[error("a service-account public key is neither an RSA nor an EC key in PEM form")]
    Public(#[source] jsonwebtoken::errors::Error),
    /// The key has a form that tokens are not signed with.
    #[error("service-account tokens are signed with RSA or EC keys only")]
    Kind,
}

/// A key that verifies.
struct PublicKey {
    id: String,
    algorithm: Algorithm,
    jwk: Jwk,
    key: DecodingKey,
}

/// All keys of service-account tokens.
pub struct Keys {
    signing: Option<EncodingKey>,
    public: Vec<PublicKey>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ids: Vec<&str> = self.public.iter().map(|k| k.id.as_str()).collect();
        f.debug_struct("Keys").field("ids", &ids).finish_non_exhaustive()
    }
}

impl Keys {
    /// Reads keys in PEM form; without a signing key nothing can be issued.
    pub fn new(signing_pem: &str, public_pems: &[String]) -> Result<Self, KeyError> {
        let mut keys = Self { signing: None, public: Vec::new() };
        if !signing_pem.is_empty() {
            let (key, jwk) = read_signing(signing_pem.as_bytes())?;
            keys.signing = Some(key);
            keys.add(jwk)?;
        }
        for pem in public_pems {
            keys.add(read_public(pem.as_bytes())?)?;
        }
        Ok(keys)
    }

    fn add(&mut self, jwk: Jwk) -> Result<(), KeyError> {
        let (algorithm, spki) = public_form(&jwk).ok_or(KeyError::Kind)?;
        let id = BASE64.encode(Sha256::digest(&spki));
        if self.public.iter().all(|k| k.id != id) {
            let key = DecodingKey::from_jwk(&jwk).map_err(KeyError::Public)?;
            self.public.push(PublicKey { id, algorithm, jwk, key });
        }
        Ok(())
    }

    /// A signed token; `None` if there is no signing key, or if it fails.
    pub fn sign(&self, claims: &Value) -> Option<String> {
        let (key, public) = (self.signing.as_ref()?, self.public.first()?);
        let mut header = Header::new(public.algorithm);
        header.typ = None;
        header.kid = Some(public.id.clone());
        jsonwebtoken::encode(&header, claims, key).ok()
    }

    /// The claims of a token, if one of the keys signed it. Times and audiences are the caller's to check.
    pub fn verify(&self, token: &str) -> Option<Value> {
        let header = jsonwebtoken::decode_header(token).ok()?;
        let candidates = self
            .public
            .iter()
            .filter(|k| k.algorithm == header.alg && header.kid.as_ref().is_none_or(|id| *id == k.id));
        for key in candidates {
            let mut validation = Validation::new(key.algorithm);
            validation.validate_exp = false;
            validation.validate_aud = false;
            validation.required_spec_claims.clear();
            if let Ok(data) = jsonwebtoken::decode::<Value>(token, &key.key, &validation) {
                return Some(data.claims);
            }
        }
        None
    }

    /// The key set that `/openid/v1/jwks` answers.
    pub fn jwks(&self) -> Value {
        let keys = self.public.iter().map(|k| match &k.jwk.algorithm {
            AlgorithmParameters::RSA(p) => {
                json!({"use": "sig", "kty": "RSA", "kid": k.id, "alg": "RS256", "n": p.n, "e": p.e})
            }
            AlgorithmParameters::EllipticCurve(p) => json!({"use": "sig", "kty": "EC", "kid": k.id,
                "crv": p.curve, "alg": format!("{:?}", k.algorithm), "x": p.x, "y": p.y}),
            _ => Value::Null,
        });
        json!({"keys": keys.collect::<Vec<_>>()})
    }

    /// The algorithms of the keys, each once.
    pub fn algorithms(&self) -> Vec<String> {
        let mut names: Vec<String> = self.public.iter().map(|k| format!("{:?}", k.algorithm)).collect();
        names.sort();
        names.dedup();
        names
    }
}

fn read_signing(pem: &[u8]) -> Result<(EncodingKey, Jwk), KeyError> {
    if let Ok(key) = EncodingKey::from_rsa_pem(pem) {
        let jwk = Jwk::from_encoding_key(&key, Algorithm::RS256).map_err(KeyError::Signing)?;
        return Ok((key, jwk));
    }
    let key = EncodingKey::from_ec_pem(pem).map_err(KeyError::Signing)?;
    let jwk = Jwk::from_encoding_key(&key, Algorithm::ES256)
        .or_else(|_| Jwk::from_encoding_key(&key, Algorithm::ES384))
        .map_err(KeyError::Signing)?;
    Ok((key, jwk))
}

fn read_public(pem: &[u8]) -> Result<Jwk, KeyError> {
    let key = DecodingKey::from_rsa_pem(pem).or_else(|_| DecodingKey::from_ec_pem(pem)).map_err(KeyError::Public)?;
    Jwk::from_decoding_key(&key, None).map_err(KeyError::Public)
}

/// The algorithm that a key is used with, and its `SubjectPublicKeyInfo` in DER, whose hash is its id.
fn public_form(jwk: &Jwk) -> Option<(Algorithm, Vec<u8>)> {
    const RSA: &[u8] = &[0x30, 0x0d, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];
    const P256: &[u8] =
        &[0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
    const P384: &[u8] = &[0x30, 0x10, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 5, 0x2b, 0x81, 4, 0, 0x22];
    let (algorithm, kind, key) = match &jwk.algorithm {
        AlgorithmParameters::RSA(p) => {
            let numbers = [integer(&BASE64.decode(&p.n).ok()?), integer(&BASE64.decode(&p.e).ok()?)].concat();
            (Algorithm::RS256, RSA, der(0x30, &numbers))
        }
        AlgorithmParameters::EllipticCurve(p) => {
            let (algorithm, kind) = match p.curve {
                EllipticCurve::P256 => (Algorithm::ES256, P256),
                EllipticCurve::P384 => (Algorithm::ES384, P384),
                _ => return None,
            };
            let point = [vec![4], BASE64.decode(&p.x).ok()?, BASE64.decode(&p.y).ok()?].concat();
            (algorithm, kind, point)
        }
        _ => return None,
    };
    let bits = der(3, &[vec![0], key].concat());
    Some((algorithm, der(0x30, &[kind, &bits].concat())))
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut out = vec![tag];
    match u8::try_from(length) {
        Ok(short @ ..0x80) => out.push(short),
        _ => {
            let bytes: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|b| *b == 0).collect();
            out.push(0x80 | bytes.len() as u8);
            out.extend(bytes);
        }
    }
    out.extend_from_slice(content);
    out
}

fn integer(bytes: &[u8]) -> Vec<u8> {
    let sign: &[u8] = if bytes.first().is_some_and(|b| b & 0x80 != 0) { &[0] } else { &[] };
    der(2, &[sign, bytes].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_verifies_and_nothing_else() {
        let pair = crate::key_pair().expect("key");
        let other = crate::key_pair().expect("key");
        let keys = Keys::new(&pair.key_pem, std::slice::from_ref(&pair.cert_pem)).expect("keys");
        assert_eq!(keys.public.len(), 1, "the public half is known from the private one");
        let token = keys.sign(&json!({"sub": "a"})).expect("token");
        assert_eq!(keys.verify(&token), Some(json!({"sub": "a"})));
        assert_eq!(Keys::new("", &[other.cert_pem]).expect("keys").verify(&token), None);
        assert_eq!(Keys::new("", &[pair.cert_pem]).expect("keys").verify(&token), Some(json!({"sub": "a"})));
        let mut forged = token.into_bytes();
        let middle = forged.len() / 2;
        forged[middle] = if forged[middle] == b'A' { b'B' } else { b'A' };
        assert_eq!(keys.verify(&String::from_utf8(forged).expect("text")), None);
    }

    #[test]
    fn the_key_id_is_the_hash_of_the_public_key() {
        let pair = crate::key_pair().expect("key");
        let body: String = pair.cert_pem.lines().filter(|l| !l.starts_with('-')).collect();
        let spki = base64::engine::general_purpose::STANDARD.decode(body).expect("base64");
        let keys = Keys::new(&pair.key_pem, &[]).expect("keys");
        assert_eq!(keys.jwks()["keys"][0]["kid"], BASE64.encode(Sha256::digest(spki)));
    }
}
