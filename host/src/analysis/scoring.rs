//! Scores of many images, summarized as text and as JSON.

mod page;
mod set;

use host_console::csv;
use host_modelling::ImageType;
use serde::Serialize;
use serde_json::{Map, Value};
use shared::{ImageScore, SetScore, THRESHOLD_COUNT, THRESHOLDS_PERCENT};

pub use page::Worst;
pub use set::{MissingPolicy, ScoreOptions, SetResult, score_set};

/// The score of one image.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredPicture {
    /// Its name in the truth.
    pub name: String,
    /// Its image type.
    pub image_type: ImageType,
    /// Its score.
    pub score: ImageScore,
}

/// Scores of a set of images, overall and per image type.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreReport {
    /// Over all images.
    pub total: SetScore,
    /// By type, in the order of [`ImageType::ALL`]; types without an image are not listed.
    pub types: Vec<(ImageType, SetScore)>,
    /// Every image, in the given order.
    pub pictures: Vec<ScoredPicture>,
}

/// One image as JSON.
#[derive(Serialize)]
struct PictureRow<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    image_type: ImageType,
    mean_ap: f64,
    ap: [f64; THRESHOLD_COUNT],
    iou: f64,
    dice: f64,
    true_count: u32,
    predicted_count: u32,
    count_error: f64,
}

impl<'a> From<&'a ScoredPicture> for PictureRow<'a> {
    fn from(picture: &'a ScoredPicture) -> Self {
        let score = &picture.score;
        Self {
            name: &picture.name,
            image_type: picture.image_type,
            mean_ap: score.mean_ap(),
            ap: std::array::from_fn(|at| score.ap(at)),
            iou: score.iou(),
            dice: score.dice(),
            true_count: score.true_count,
            predicted_count: score.predicted_count,
            count_error: score.count_error(),
        }
    }
}

/// Number of worst images shown.
const WORST: usize = 5;

impl ScoreReport {
    /// Summarizes; `None` without images.
    pub fn new(pictures: Vec<ScoredPicture>) -> Option<Self> {
        let total = SetScore::from_scores(pictures.iter().map(|picture| &picture.score))?;
        let of_type = |wanted| {
            let scores = pictures.iter().filter(|picture| picture.image_type == wanted);
            Some((wanted, SetScore::from_scores(scores.map(|picture| &picture.score))?))
        };
        let types = ImageType::ALL.into_iter().filter_map(of_type).collect();
        Some(Self { total, types, pictures })
    }

    /// The scores as the fields of a JSON object: those of [`SetScore`], and the same by type under `types`.
    ///
    /// # Errors
    /// The error of serializing a score.
    pub fn to_json(&self) -> serde_json::Result<Map<String, Value>> {
        let mut types = Map::new();
        for (image_type, score) in &self.types {
            types.insert(image_type.name().to_owned(), serde_json::to_value(score)?);
        }
        let mut fields = Map::new();
        if let Value::Object(total) = serde_json::to_value(&self.total)? {
            fields.extend(total);
        }
        fields.insert("types".to_owned(), Value::Object(types));
        Ok(fields)
    }

    /// Every image with its scores, as JSON.
    ///
    /// # Errors
    /// The error of serializing a score.
    pub fn pictures_json(&self) -> serde_json::Result<Value> {
        serde_json::to_value(self.pictures.iter().map(PictureRow::from).collect::<Vec<_>>())
    }

    /// Every image with its scores, one line each.
    pub fn to_csv(&self) -> String {
        let thresholds = THRESHOLDS_PERCENT.map(|percent| format!("ap_0.{percent}")).join(",");
        let mut text =
            format!("name,type,mean_ap,{thresholds},iou,dice,true_nuclei,predicted_nuclei,count_error\n");
        for row in self.pictures.iter().map(PictureRow::from) {
            let ap = row.ap.map(|ap| format!("{ap:.6}")).join(",");
            text.push_str(&format!(
                "{},{},{:.6},{ap},{:.6},{:.6},{},{},{:.6}\n",
                csv::field(row.name),
                row.image_type,
                row.mean_ap,
                row.iou,
                row.dice,
                row.true_count,
                row.predicted_count,
                row.count_error,
            ));
        }
        text
    }

    /// The scores as text: overall, per type, per threshold, and the worst images.
    pub fn to_lines(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "{:<18}{:>8}{:>9}{:>9}{:>9}{:>8}{:>8}{:>13}",
            "", "images", "mean AP", "AP 0.50", "AP 0.75", "IoU", "Dice", "count error"
        )];
        let row = |name: &str, score: &SetScore| {
            format!(
                "{name:<18}{:>8}{:>9.4}{:>9.4}{:>9.4}{:>8.4}{:>8.4}{:>11.1} %",
                score.images,
                score.mean_ap,
                score.ap[0],
                score.ap[THRESHOLD_COUNT / 2],
                score.mean_iou,
                score.dice,
                100.0 * score.count_error,
            )
        };
        lines.push(row("all", &self.total));
        lines.extend(self.types.iter().map(|(image_type, score)| row(image_type.name(), score)));
        lines.push(String::new());
        lines.push(format!(
            "IoU above{}",
            THRESHOLDS_PERCENT.map(|percent| format!("   0.{percent}")).concat()
        ));
        lines.push(format!("AP       {}", self.total.ap.map(|ap| format!("{ap:>7.4}")).concat()));
        let mut worst: Vec<&ScoredPicture> = self.pictures.iter().collect();
        worst.sort_by(|a, b| a.score.mean_ap().total_cmp(&b.score.mean_ap()));
        lines.push(String::new());
        lines.push("worst images: mean AP, nuclei found / true".to_owned());
        lines.extend(worst.into_iter().take(WORST).map(|picture| {
            let score = &picture.score;
            format!(
                "  {:.4}  {:>5} / {:<5} {}  {}",
                score.mean_ap(),
                score.predicted_count,
                score.true_count,
                picture.image_type,
                picture.name
            )
        }));
        lines
    }
}

#[cfg(test)]
mod tests {
    use shared::{LabelImage, evaluate};

    use super::*;

    fn picture(name: &str, image_type: ImageType, truth: &[u32], found: &[u32]) -> ScoredPicture {
        let labels = |values: &[u32]| LabelImage::new(values.len() as u32, 1, values.to_vec()).unwrap();
        let score = evaluate(&labels(truth), &labels(found)).unwrap();
        ScoredPicture { name: name.to_owned(), image_type, score }
    }

    fn report() -> ScoreReport {
        ScoreReport::new(vec![
            picture("good", ImageType::Fluorescence, &[1, 1, 0, 2], &[1, 1, 0, 2]),
            picture("half", ImageType::GreyBrightfield, &[1, 1, 0, 2], &[1, 1, 0, 0]),
            picture("none, sadly", ImageType::Fluorescence, &[1, 1, 0, 0], &[0, 0, 0, 0]),
        ])
        .unwrap()
    }

    #[test]
    fn json_has_the_promised_fields_over_all_and_by_type() {
        let json = report().to_json().unwrap();
        let keys = |object: &Map<String, Value>| object.keys().cloned().collect::<Vec<_>>();
        let mut fields = vec!["ap", "count_error", "dice", "images", "mean_ap", "mean_iou"];
        let types = json["types"].as_object().unwrap();
        assert_eq!(keys(types), ["fluorescence", "grey_brightfield"]);
        for score in types.values() {
            let mut found = keys(score.as_object().unwrap());
            found.sort();
            assert_eq!(found, fields);
        }
        fields.push("types");
        let mut found = keys(&json);
        found.sort();
        assert_eq!(found, fields);
        assert_eq!(json["images"], 3);
        assert_eq!(json["mean_ap"], 0.5);
        assert_eq!(json["ap"].as_array().unwrap().len(), 10);
        assert_eq!(types["fluorescence"]["mean_ap"], 0.5);
        assert_eq!(types["grey_brightfield"]["count_error"], 0.5);
    }

    #[test]
    fn pictures_are_listed_in_json_csv_and_worst_first() {
        let report = report();
        let rows = report.pictures_json().unwrap();
        assert_eq!((&rows[1]["name"], &rows[1]["true_count"]), (&"half".into(), &2.into()));
        let csv = report.to_csv();
        assert_eq!(csv.lines().count(), 4);
        assert!(csv.contains("\"none, sadly\",fluorescence,0.000000,"), "{csv}");
        let lines = report.to_lines();
        let worst = lines.iter().position(|line| line.starts_with("worst")).unwrap();
        assert!(lines[worst + 1].ends_with("none, sadly"), "{lines:?}");
        assert!(lines[worst + 3].ends_with("good"), "{lines:?}");
    }

    #[test]
    fn nothing_scored_is_no_report() {
        assert_eq!(ScoreReport::new(Vec::new()), None);
    }
}
