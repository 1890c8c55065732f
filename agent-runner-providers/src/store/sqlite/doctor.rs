//! Examines a database from end to end.

use agent_runner_core::store::{StoreError, StoreErrorKind};
use sqlx::Row as _;

use super::{connect::NEWEST, error::store_error, read::Reader};
use crate::store::rows::Fields;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Severity {
    /// As it should be.
    Fine,
    /// Heals by itself or with the next sweep.
    Notice,
    /// A rule is broken: restore a backup.
    Broken,
}

/// One thing that was examined.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What was examined, a stable word such as `pages` or `journals`.
    pub check: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What was found, for people.
    pub detail: String,
}

/// A rule as a query that lists what breaks it, at most [`SHOWN`] of it.
struct Rule {
    check: &'static str,
    severity: Severity,
    fine: &'static str,
    sql: &'static str,
}

/// Offenders named in one finding.
const SHOWN: i64 = 20;

const RULES: [Rule; 5] = [
    Rule {
        check: "journals",
        severity: Severity::Broken,
        fine: "every journal is numbered 1..n",
        sql: include_str!("statements/doctor_journals.sql"),
    },
    Rule {
        check: "ends",
        severity: Severity::Broken,
        fine: "every run that ended has one terminal event, its last",
        sql: include_str!("statements/doctor_ends.sql"),
    },
    Rule {
        check: "queue",
        severity: Severity::Notice,
        fine: "exactly the claimable runs are listed",
        sql: include_str!("statements/doctor_queue.sql"),
    },
    Rule {
        check: "payloads",
        severity: Severity::Broken,
        fine: "every large payload that an event names is there",
        sql: include_str!("statements/doctor_payloads.sql"),
    },
    Rule {
        check: "references",
        severity: Severity::Broken,
        fine: "every row belongs to a run",
        sql: "SELECT \"table\" || ' ' || rowid AS offender FROM pragma_foreign_key_check LIMIT $1",
    },
];

pub(super) async fn examine(reader: &Reader) -> Result<Vec<Finding>, StoreError> {
    let mut findings = vec![settle(reader, "pages", pages(reader).await)?];
    for rule in &RULES {
        findings.push(settle(reader, rule.check, apply(reader, rule).await)?);
    }
    findings.push(settle(reader, "schema", schema(reader).await)?);
    findings.push(settle(reader, "sizes", sizes(reader).await)?);
    Ok(findings)
}

/// What cannot be examined because the file is damaged is a finding as well.
fn settle(
    reader: &Reader,
    check: &'static str,
    examined: Result<Finding, sqlx::Error>,
) -> Result<Finding, StoreError> {
    let error = match examined {
        Ok(finding) => return Ok(finding),
        Err(error) => error,
    };
    let cause = error.to_string();
    let error = store_error(error, "examine", &reader.path);
    if error.kind() != StoreErrorKind::Corrupt {
        return Err(error);
    }
    Ok(Finding { check, severity: Severity::Broken, detail: format!("{error}: {cause}") })
}

async fn pages(reader: &Reader) -> Result<Finding, sqlx::Error> {
    let rows = sqlx::query("PRAGMA integrity_check(20)").fetch_all(&reader.pool).await?;
    let lines: Vec<String> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    let fine = lines == ["ok"];
    Ok(Finding {
        check: "pages",
        severity: if fine { Severity::Fine } else { Severity::Broken },
        detail: if fine {
            "every page and index is sound".to_owned()
        } else {
            format!("restore a backup: {}", lines.join("; "))
        },
    })
}

async fn apply(reader: &Reader, rule: &Rule) -> Result<Finding, sqlx::Error> {
    let rows = sqlx::query(rule.sql).bind(SHOWN).fetch_all(&reader.pool).await?;
    let offenders: Vec<String> =
        rows.iter().map(|row| Fields(row).get("offender")).collect::<Result<_, _>>()?;
    if offenders.is_empty() {
        let detail = rule.fine.to_owned();
        return Ok(Finding { check: rule.check, severity: Severity::Fine, detail });
    }
    let detail = format!("it should be that {}, but not: {}", rule.fine, offenders.join(", "));
    Ok(Finding { check: rule.check, severity: rule.severity, detail })
}

async fn schema(reader: &Reader) -> Result<Finding, sqlx::Error> {
    let row = sqlx::query("PRAGMA user_version").fetch_one(&reader.pool).await?;
    let version: i64 = row.try_get(0)?;
    Ok(Finding {
        check: "schema",
        severity: if version == NEWEST { Severity::Fine } else { Severity::Notice },
        detail: format!("schema {version}, this version knows up to {NEWEST}"),
    })
}

async fn sizes(reader: &Reader) -> Result<Finding, sqlx::Error> {
    let row =
        sqlx::query(include_str!("statements/doctor_sizes.sql")).fetch_one(&reader.pool).await?;
    let row = Fields(&row);
    Ok(Finding {
        check: "sizes",
        severity: Severity::Fine,
        detail: format!(
            "{} runs, {} events, {} bytes, of them {} free",
            row.count("runs")?,
            row.count("events")?,
            row.count("bytes")?,
            row.count("free")?,
        ),
    })
}
