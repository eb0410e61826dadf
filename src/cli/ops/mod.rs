//! `ops`: what an operator's Prometheus and Grafana need, made from the definitions of the metrics.

mod alerts;
mod dashboard;
mod panels;
mod query;

use super::Failure;
use super::terminal::say;
use crate::telemetry::Metrics;
use clap::Subcommand;
use query::{Matcher, Scope};

/// Print a dashboard for Grafana, or alert rules for Prometheus
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx ops grafana >dashboard.json
  taskrunnerx ops alerts >alerts.yml

Each command has its own --help.")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print a dashboard for Grafana
    Grafana(GrafanaArgs),
    /// Print alert rules for Prometheus
    Alerts(AlertsArgs),
}

/// Print a dashboard for Grafana (JSON)
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx ops grafana > taskrunnerx.json       to import, or for a provisioned directory
  taskrunnerx ops grafana --selector job=jobs-eu   where Prometheus knows several installations

Exit codes: 0 done, 2 usage.")]
struct GrafanaArgs {
    #[command(flatten)]
    scoped: Scoped,
}

/// Print alert rules for Prometheus (YAML)
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskrunnerx ops alerts > taskrunnerx.rules.yml   and under rule_files in prometheus.yml
  taskrunnerx ops alerts | promtool check rules
  taskrunnerx ops alerts --runbooks https://wiki.internal/taskrunnerx --selector job=jobs-eu

Exit codes: 0 done, 2 usage.")]
struct AlertsArgs {
    /// Where docs/operations.md can be read: the address before the # of each runbook
    #[arg(long, value_name = "URL", default_value = "docs/operations.md")]
    runbooks: String,
    #[command(flatten)]
    scoped: Scoped,
}

/// The installation, where there are several.
#[derive(Debug, clap::Args)]
struct Scoped {
    /// Only series with this label, as Prometheus gives it to the targets; may be repeated
    #[arg(long, value_name = "LABEL=VALUE", value_parser = query::matcher)]
    selector: Vec<Matcher>,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let metrics = Metrics::new().map_err(Failure::new)?;
    match args.command {
        Command::Grafana(GrafanaArgs { scoped }) => {
            let scope = Scope::new(scoped.selector);
            let dashboard =
                dashboard::dashboard(&panels::rows(&metrics, &scope), &scope.series(&metrics.tasks_submitted));
            say(&format!("{dashboard:#}"));
        }
        Command::Alerts(AlertsArgs { runbooks, scoped }) => {
            say(alerts::rules(&metrics, &Scope::new(scoped.selector), &runbooks).trim_end());
        }
    }
    Ok(())
}
