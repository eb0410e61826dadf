//! The form of a dashboard as Grafana reads it (schema 39, Grafana 10 and later): where panels stand, and what is said
//! once for all of them. What they show is in `panels`.

use super::query::Series;
use crate::telemetry::metrics::label::QUEUE;
use serde_json::{Value, json};

/// The version of the form.
const SCHEMA: u32 = 39;
/// A dashboard is so many units wide.
const WIDTH: u32 = 24;
const ROW_HEIGHT: u32 = 1;
const STAT_HEIGHT: u32 = 4;
const GRAPH_HEIGHT: u32 = 8;
/// The time over which rates are taken: Grafana's own choice, by the interval of the scrapes and the width of the graph.
pub(super) const OVER: &str = "$__rate_interval";

/// A part of the dashboard under its title.
pub(super) struct Row {
    pub(super) title: &'static str,
    pub(super) panels: Vec<Panel>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One number.
    Stat,
    /// Lines.
    Lines,
    /// Areas, one upon the other.
    Stacked,
}

pub(super) struct Panel {
    pub(super) title: &'static str,
    /// What it shows, and what to think of it.
    pub(super) about: &'static str,
    pub(super) kind: Kind,
    /// As Grafana names units: `s`, `ops`, `short`, `percentunit`, `bytes`.
    pub(super) unit: &'static str,
    /// Units of width.
    pub(super) width: u32,
    /// Yellow and red from here on: for a number.
    pub(super) thresholds: Option<(f64, f64)>,
    /// Expressions, each with its legend.
    pub(super) targets: Vec<(String, String)>,
}

/// The whole of it, to be imported or provisioned. `queues`: the series that knows every queue.
pub(super) fn dashboard(rows: &[Row], queues: &Series) -> Value {
    let mut panels = Vec::new();
    let mut y = 0;
    for row in rows {
        let place = json!({"h": ROW_HEIGHT, "w": WIDTH, "x": 0, "y": y});
        panels.push(json!({"id": panels.len() + 1, "type": "row", "title": row.title, "collapsed": false, "gridPos": place, "panels": []}));
        y += ROW_HEIGHT;
        let (mut x, mut height) = (0, 0);
        for panel in &row.panels {
            if x + panel.width > WIDTH {
                y += height;
                (x, height) = (0, 0);
            }
            let tall = if panel.kind == Kind::Stat { STAT_HEIGHT } else { GRAPH_HEIGHT };
            height = height.max(tall);
            let place = json!({"h": tall, "w": panel.width, "x": x, "y": y});
            panels.push(shown(panel, panels.len() + 1, place));
            x += panel.width;
        }
        y += height;
    }
    json!({
        "id": null,
        "uid": "taskrunnerx",
        "title": "Task Runner X",
        "description": "Made by `taskrunnerx ops grafana`, from the definitions of its metrics.",
        "tags": ["taskrunnerx"],
        "schemaVersion": SCHEMA,
        "version": 1,
        "editable": true,
        "graphTooltip": 1,
        "timezone": "browser",
        "time": {"from": "now-1h", "to": "now"},
        "refresh": "30s",
        "annotations": {"list": []},
        "links": [],
        "templating": {"list": variables(queues)},
        "panels": panels,
    })
}

fn source() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

/// What is chosen at the top: the Prometheus, and queues.
fn variables(queues: &Series) -> Value {
    let query = format!("label_values({queues}, {QUEUE})");
    json!([
        {
            "name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus",
            "current": {}, "hide": 0, "includeAll": false, "multi": false, "refresh": 1, "regex": "", "options": []
        },
        {
            "name": QUEUE, "label": "Queue", "type": "query", "datasource": source(),
            "definition": query, "query": {"qryType": 1, "query": query, "refId": "queues"},
            "current": {"selected": true, "text": ["All"], "value": ["$__all"]},
            "includeAll": true, "allValue": ".*", "multi": true, "hide": 0, "refresh": 2, "sort": 1, "regex": "", "options": []
        }
    ])
}

fn shown(panel: &Panel, id: usize, place: Value) -> Value {
    let Panel { title, about, kind, unit, thresholds, targets, width: _ } = panel;
    let targets: Vec<Value> = targets
        .iter()
        .zip('A'..='Z')
        .map(|((expr, legend), name)| {
            json!({
                "refId": name.to_string(), "datasource": source(), "expr": expr, "legendFormat": legend,
                "range": *kind != Kind::Stat, "instant": *kind == Kind::Stat, "editorMode": "code"
            })
        })
        .collect();
    let (form, options, custom) = match kind {
        Kind::Stat => ("stat", stat(), json!({})),
        Kind::Lines => ("timeseries", graph(), lines(10, "none")),
        Kind::Stacked => ("timeseries", graph(), lines(40, "normal")),
    };
    let steps = match thresholds {
        None => json!([{"color": "text", "value": null}]),
        Some((yellow, red)) => json!([
            {"color": "green", "value": null}, {"color": "yellow", "value": yellow}, {"color": "red", "value": red}
        ]),
    };
    let color = if *kind == Kind::Stat { "thresholds" } else { "palette-classic" };
    json!({
        "id": id, "type": form, "title": title, "description": about, "datasource": source(), "gridPos": place,
        "targets": targets, "options": options,
        "fieldConfig": {
            "defaults": {
                "unit": unit, "min": 0, "color": {"mode": color}, "custom": custom,
                "thresholds": {"mode": "absolute", "steps": steps}
            },
            "overrides": []
        }
    })
}

fn stat() -> Value {
    json!({
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false},
        "colorMode": "value", "graphMode": "none", "justifyMode": "auto", "textMode": "auto", "orientation": "auto"
    })
}

fn graph() -> Value {
    json!({
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"}
    })
}

fn lines(fill: u32, stacking: &str) -> Value {
    json!({
        "drawStyle": "line", "lineWidth": 1, "fillOpacity": fill, "showPoints": "never", "spanNulls": false,
        "stacking": {"mode": stacking, "group": "A"}
    })
}
