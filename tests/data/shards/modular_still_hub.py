from transformers.models.hubert.configuration_hubert import HubertConfig
from transformers.models.hubert.modeling_hubert import HubertFeedForward, HubertModel


class StillHubConfig(HubertConfig):
    pass


class StillHubFeedForward(HubertFeedForward):
    @property
    def num_features(self):
        return self.output_dense.out_features

    def forward(self, hidden_states):
        return super().forward(hidden_states) / self.num_features


class StillHubModel(HubertModel):
    pass


__all__ = ["StillHubConfig", "StillHubModel"]
