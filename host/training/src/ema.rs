//! The exponential moving average of a network's weights, which generalizes better than the weights of any one step
//! (Polyak and Juditsky 1992; Izmailov et al., "Averaging Weights Leads to Wider Optima", 2018).

use std::collections::VecDeque;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// Decay after `steps` steps: small at first, so that the initial random weights are soon forgotten, and `most` in the
/// end.
pub(super) fn ema_decay(steps: u64, most: f64) -> f64 {
    let steps = steps as f64;
    ((1.0 + steps) / (10.0 + steps)).min(most)
}

/// `decay` of `average` and the rest of `current`, number by number; running statistics likewise.
pub(super) fn ema_update<B: Backend, M: Module<B>>(average: M, current: &M, decay: f64) -> M {
    let mut collected = Collect { numbers: VecDeque::new() };
    current.visit(&mut collected);
    average.map(&mut EmaUpdate { current: collected.numbers, decay })
}

/// The numbers of a module, flat, in the order in which it is walked.
struct Collect<B: Backend> {
    numbers: VecDeque<Tensor<B, 1>>,
}

impl<B: Backend> ModuleVisitor<B> for Collect<B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let tensor = param.val();
        let count = tensor.shape().num_elements();
        self.numbers.push_back(tensor.reshape([count]));
    }
}

struct EmaUpdate<B: Backend> {
    current: VecDeque<Tensor<B, 1>>,
    decay: f64,
}

impl<B: Backend> ModuleMapper<B> for EmaUpdate<B> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let (id, average, mapper) = param.consume();
        let blended = match self.current.pop_front() {
            Some(current) => {
                let current = current.reshape(average.shape());
                average * self.decay + current * (1.0 - self.decay)
            }
            None => average,
        };
        Param::from_mapped_value(id, blended, mapper)
    }
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;
    use burn::tensor::TensorData;

    use super::*;
    use crate::{Encoder, Skips, Stem, UnetConfig};

    #[test]
    fn every_number_is_blended() {
        let config = UnetConfig {
            encoder: Encoder::Plain,
            width: 4,
            depth: 2,
            stem: Stem::Half,
            skips: Skips::Add,
            decoder_convolutions: 1,
            outputs: 3,
        };
        let device = Default::default();
        let (old, new) = (config.init::<Flex>(1, &device), config.init::<Flex>(2, &device));
        let numbers = |module: &_| {
            let mut collected = Collect { numbers: VecDeque::new() };
            Module::<Flex>::visit::<Collect<Flex>>(module, &mut collected);
            let all: Vec<TensorData> = collected.numbers.into_iter().map(Tensor::into_data).collect();
            all.iter().flat_map(|data| data.iter::<f32>().collect::<Vec<_>>()).collect::<Vec<f32>>()
        };
        let (a, b) = (numbers(&old), numbers(&new));
        let blended = numbers(&ema_update(old, &new, 0.75));
        assert_eq!(blended.len(), a.len());
        for ((blended, a), b) in blended.iter().zip(&a).zip(&b) {
            assert!((blended - (0.75 * a + 0.25 * b)).abs() < 1e-6);
        }
        assert!(a.iter().zip(&b).any(|(a, b)| a != b));
    }

    #[test]
    fn the_start_is_soon_forgotten() {
        assert!(ema_decay(1, 0.999) < 0.2);
        assert!((ema_decay(1_000_000, 0.999) - 0.999).abs() < 1e-12);
    }
}
