//! The program `drover`: every service in one process (`up`), the demonstration, and the operator's command line.

mod arrow_answer;
mod backup_folder;
mod banner;
pub mod cli;
mod client;
mod commands;
mod condition;
pub mod config;
mod contexts;
mod failure;
mod fleet;
mod listening_process;
mod local_server;
mod mqtt_address;
mod mqtt_client;
mod mqtt_connection;
mod new_file;
mod open_files;
mod output;
mod period;
mod plot;
mod recording;
mod server_sent_events;
mod setting_args;
mod sim;
pub mod up;
mod watch;
