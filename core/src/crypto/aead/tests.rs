//! Both implementations against Wycheproof and each other; the nonce rule; the debug registry.
