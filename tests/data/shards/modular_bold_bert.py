from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertForMaskedLM, BertPooler, BertSelfOutput


class BoldBertConfig(BertConfig):
    pass


class BoldBertSelfOutput(BertSelfOutput):
    def forward(self, hidden_states, input_tensor):
        return super().forward(input_tensor=input_tensor, hidden_states=hidden_states)


class BoldBertPooler(BertPooler):
    def forward(self, hidden_states):
        return super().forward(hidden_states), hidden_states


class BoldBertForMaskedLM(BertForMaskedLM):
    pass


__all__ = ["BoldBertConfig", "BoldBertForMaskedLM"]
