from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertModel, BertPooler, BertSelfOutput


class BoldBertConfig(BertConfig):
    pass


class BoldBertSelfOutput(BertSelfOutput):
    def forward(self, hidden_states, input_tensor):
        return super().forward(input_tensor=input_tensor, hidden_states=hidden_states)


class BoldBertPooler(BertPooler):
    def forward(self, hidden_states):
        pooled = super().forward(hidden_states)
        return pooled + hidden_states[:, -1]


class BoldBertModel(BertModel):
    pass


__all__ = ["BoldBertConfig", "BoldBertModel"]
