//! The storages behind the proxy, by protocol: addresses come from the environment.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use strongroom_azure::{AzureConfig, AzureTarget};
use strongroom_backend_support::Environment;
use strongroom_core::target::SharedTarget;
use strongroom_opendal::{OpendalConfig, OpendalTarget};
use strongroom_s3::{S3Config, S3Target};

use super::proxy::Filter;
use crate::support::services::variable;

/// A way to speak HTTP with a storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    S3,
    Azure,
    WebDav,
}

/// All of them.
pub const PROTOCOLS: &[Protocol] = &[Protocol::S3, Protocol::Azure, Protocol::WebDav];

impl Protocol {
    /// The requests that carry a part of a large object.
    pub fn part_filter(self) -> Filter {
        match self {
            Self::S3 => {
                |message| message.method() == "PUT" && message.target().contains("partNumber")
            }
            Self::Azure => |message| message.target().contains("blockid="),
            Self::WebDav => |message| message.method() == "PUT",
        }
    }

    /// The request that makes a large object visible.
    pub fn commit_filter(self) -> Filter {
        match self {
            Self::S3 => {
                |message| message.method() == "POST" && message.target().contains("uploadId")
            }
            Self::Azure => |message| message.target().contains("comp=blocklist"),
            Self::WebDav => |message| message.method() == "MOVE",
        }
    }
}

/// A server, with a place for the tests on it.
pub struct Storage {
    protocol: Protocol,
    address: SocketAddr,
    place: String,
    variables: BTreeMap<String, String>,
}

impl Storage {
    /// The place of a protocol, made anew.
    pub async fn prepare(protocol: Protocol) -> Self {
        let place = format!("faults-{:08x}", std::process::id());
        let (endpoint, variables): (String, Vec<(&str, String)>) = match protocol {
            Protocol::S3 => (
                variable("TEST_S3_ENDPOINT"),
                vec![
                    ("AWS_ACCESS_KEY_ID", variable("TEST_S3_ACCESS_KEY")),
                    ("AWS_SECRET_ACCESS_KEY", variable("TEST_S3_SECRET_KEY")),
                ],
            ),
            Protocol::Azure => (
                variable("TEST_AZURE_ENDPOINT"),
                vec![("AZURE_STORAGE_KEY", variable("TEST_AZURE_KEY"))],
            ),
            Protocol::WebDav => (
                variable("TEST_WEBDAV_URL"),
                vec![("STRONGROOM_WEBDAV_PASSWORD", variable("TEST_WEBDAV_PASSWORD"))],
            ),
        };
        let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), value));
        let storage = Self {
            protocol,
            address: address_of(&endpoint),
            place,
            variables: variables.collect(),
        };
        storage.make(&storage.url(storage.address, "")).await;
        storage
    }

    /// Where the server is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A folder of the place, over the server's address or that of a proxy.
    pub async fn open(&self, address: SocketAddr, folder: &str) -> SharedTarget {
        self.make(&self.url(address, folder)).await
    }

    fn url(&self, address: SocketAddr, folder: &str) -> String {
        let place = &self.place;
        match self.protocol {
            Protocol::S3 => {
                let region = variable("TEST_S3_REGION");
                format!(
                    "s3://{place}/{folder}?endpoint=http://{address}&region={region}\
                     &path-style=true"
                )
            }
            Protocol::Azure => {
                let account = variable("TEST_AZURE_ACCOUNT");
                format!(
                    "az://{place}/{folder}?account={account}&endpoint=http://{address}/{account}"
                )
            }
            Protocol::WebDav => {
                let user = variable("TEST_WEBDAV_USER");
                format!("webdav://{user}@{address}/{place}/{folder}")
            }
        }
    }

    async fn make(&self, url: &str) -> SharedTarget {
        let environment = Environment::new(|name| self.variables.get(name).cloned());
        match self.protocol {
            Protocol::S3 => {
                let config = S3Config::from_url(url, &environment).unwrap();
                Arc::new(S3Target::create(config).await.unwrap())
            }
            Protocol::Azure => {
                let config = AzureConfig::from_url(url, &environment).unwrap();
                Arc::new(AzureTarget::create(config).await.unwrap())
            }
            Protocol::WebDav => {
                let config = OpendalConfig::from_url(url, &environment).unwrap();
                Arc::new(OpendalTarget::create(&config).await.unwrap())
            }
        }
    }
}

/// Host and port of an endpoint.
fn address_of(endpoint: &str) -> SocketAddr {
    let rest = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or_default();
    host.parse().unwrap_or_else(|error| panic!("{endpoint}: {error}"))
}
