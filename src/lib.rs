//! The module: what httpd loads.
