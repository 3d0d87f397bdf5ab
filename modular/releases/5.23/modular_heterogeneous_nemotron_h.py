# Copyright 2026 The transformers-heterogeneous authors. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Nemotron-H for transformers 5.23 and older, which rounded the router's weight with the others."""


class HeterogeneousNemotronHPreTrainedModel:
    # diff with NemotronH, which rounds the parameters of the recurrence
    _keep_in_fp32_modules_strict = ["e_score_correction_bias", "A_log", "D"]
