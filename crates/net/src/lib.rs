//! Service proxy, CNI, cluster DNS.
