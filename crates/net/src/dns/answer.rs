//! Messages: a question of the cluster's zone becomes an answer. Pure.

use super::zone::{self, Cluster, Meaning};
use hickory_proto::op::{Message, MessageType, Metadata, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::net::IpAddr;

/// Seconds that answers may be kept; short, because pods come and go.
const TTL_S: u32 = 5;

/// What to do with a request.
#[derive(Debug)]
pub enum Outcome {
    /// Send this.
    Answer(Message),
    /// The name is another's: ask the machine's resolvers.
    Forward,
    /// Send this with what the machine's resolvers say of the name.
    FollowAlias(Message, Name),
    /// Send nothing: it is no question. Two servers that answered answers would never stop.
    Ignore,
}

/// The zone of a cluster.
#[derive(Debug, Clone)]
pub struct Zone {
    apex: Name,
}

impl Zone {
    /// The zone of `domain`, such as `cluster.local`; `None` if that is no name.
    pub fn new(domain: &str) -> Option<Self> {
        let mut apex = Name::from_ascii(domain.to_lowercase()).ok()?;
        apex.set_fqdn(true);
        Some(Self { apex })
    }

    /// Decides on a request.
    pub fn decide(&self, request: &Message, cluster: &dyn Cluster) -> Outcome {
        if request.metadata.message_type != MessageType::Query {
            return Outcome::Ignore;
        }
        let [query] = request.queries.as_slice() else {
            return Outcome::Answer(failure(request, ResponseCode::FormErr));
        };
        let name = query.name().to_lowercase();
        if self.apex.zone_of(&name) {
            return self.inside(request, query, &name, cluster);
        }
        if query.query_type() == RecordType::PTR
            && let Ok(net) = name.parse_arpa_name()
            && let IpAddr::V4(ip) = net.addr()
        {
            let found = zone::reverse(ip, cluster);
            if net.prefix_len() == 32 && !found.is_empty() {
                let mut answer = reply(request, query);
                answer.add_answers(found.iter().filter_map(|r| self.record(query.name(), r)));
                return Outcome::Answer(answer);
            }
        }
        Outcome::Forward
    }

    fn inside(&self, request: &Message, query: &Query, name: &Name, cluster: &dyn Cluster) -> Outcome {
        // Not `num_labels`, which leaves out an asterisk.
        let below = name.iter().count().saturating_sub(self.apex.iter().count());
        let labels: Vec<String> = name.iter().take(below).map(|l| String::from_utf8_lossy(l).into_owned()).collect();
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        let mut answer = reply(request, query);
        let Meaning::Records(records) = zone::lookup(&labels, cluster) else {
            answer.metadata.response_code = ResponseCode::NXDomain;
            answer.add_authority(self.soa());
            return Outcome::Answer(answer);
        };
        if let [zone::Record::Cname(target)] = records.as_slice() {
            answer.add_answers(self.record(query.name(), &records[0]));
            let follow = Name::from_ascii(target).ok().filter(|_| query.query_type() != RecordType::CNAME);
            return match follow {
                Some(mut target) => {
                    target.set_fqdn(true);
                    Outcome::FollowAlias(answer, target)
                }
                None => Outcome::Answer(answer),
            };
        }
        let wanted = query.query_type();
        for record in &records {
            let Some(made) = self.record(query.name(), record) else { continue };
            if made.record_type() == wanted || wanted == RecordType::ANY {
                answer.add_answer(made);
                if let zone::Record::Srv { target, address, .. } = record
                    && let Some(target) = self.below(target)
                {
                    answer.add_additional(Record::from_rdata(target, TTL_S, RData::A(A(*address))));
                }
            }
        }
        if labels.is_empty() && wanted == RecordType::SOA {
            answer.add_answer(self.soa());
        } else if labels.is_empty() && wanted == RecordType::NS {
            let data = self.below("ns.dns").map(|name| RData::NS(NS(name)));
            answer.add_answers(data.map(|data| Record::from_rdata(self.apex.clone(), TTL_S, data)));
        } else if answer.answers.is_empty() {
            answer.add_authority(self.soa());
        }
        Outcome::Answer(answer)
    }

    fn record(&self, owner: &Name, record: &zone::Record) -> Option<Record> {
        let data = match record {
            zone::Record::A(ip) => RData::A(A(*ip)),
            zone::Record::Srv { weight, port, target, .. } => {
                RData::SRV(SRV::new(0, *weight, *port, self.below(target)?))
            }
            zone::Record::Cname(target) => {
                let mut target = Name::from_ascii(target).ok()?;
                target.set_fqdn(true);
                RData::CNAME(CNAME(target))
            }
            zone::Record::Ptr(target) => RData::PTR(PTR(self.below(target)?)),
            zone::Record::Txt(text) => RData::TXT(TXT::new(vec![text.clone()])),
        };
        Some(Record::from_rdata(owner.clone(), TTL_S, data))
    }

    fn below(&self, relative: &str) -> Option<Name> {
        Name::from_ascii(relative).ok()?.append_domain(&self.apex).ok()
    }

    fn soa(&self) -> Record {
        let name = |relative| self.below(relative).unwrap_or_else(|| self.apex.clone());
        let data = SOA::new(name("ns.dns"), name("hostmaster"), 1, 7200, 1800, 86_400, TTL_S);
        Record::from_rdata(self.apex.clone(), TTL_S, RData::SOA(data))
    }
}

fn reply(request: &Message, query: &Query) -> Message {
    let mut answer = Message::response(request.metadata.id, request.metadata.op_code);
    answer.metadata = Metadata::response_from_request(&request.metadata);
    answer.metadata.authoritative = true;
    answer.metadata.recursion_available = true;
    answer.add_query(query.clone());
    if let Some(edns) = &request.edns {
        let mut own = hickory_proto::op::Edns::new();
        own.set_max_payload(edns.max_payload().clamp(512, 1232));
        answer.set_edns(own);
    }
    answer
}

/// An answer that says only what went wrong.
pub fn failure(request: &Message, code: ResponseCode) -> Message {
    let mut answer = Message::error_msg(request.metadata.id, request.metadata.op_code, code);
    answer.metadata.recursion_desired = request.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    answer.add_queries(request.queries.iter().cloned());
    answer
}

/// Bytes of a message for UDP: cut off with the truncation bit set if it is larger than the client takes.
pub fn for_udp(message: &Message) -> Option<Vec<u8>> {
    let bytes = message.to_vec().ok()?;
    if bytes.len() <= usize::from(message.max_payload().max(512)) {
        return Some(bytes);
    }
    let mut short = message.truncate();
    short.metadata = message.metadata;
    short.metadata.truncation = true;
    short.queries.clone_from(&message.queries);
    short.to_vec().ok()
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
