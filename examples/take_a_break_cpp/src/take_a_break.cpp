// Copyright 2026 aitable_ros maintainers
// SPDX-License-Identifier: Apache-2.0
// Says "take a break" when the person in front of the robot is tired.
#include <aitable_msgs/msg/fatigue_state.hpp>
#include <rclcpp/rclcpp.hpp>

using aitable_msgs::msg::FatigueState;

class TakeABreak : public rclcpp::Node
{
public:
  TakeABreak()
  : Node("take_a_break")
  {
    subscription_ = create_subscription<FatigueState>(
      "fatigue", 10, [this](FatigueState::ConstSharedPtr state) {
        if (!state->primary) {
          return;
        }
        const bool tired = state->level >= FatigueState::LEVEL_SEVERE;
        if (tired && !tired_) {
          RCLCPP_WARN(get_logger(), "Please take a break.");
        }
        tired_ = tired;
      });
  }

private:
  bool tired_{false};
  rclcpp::Subscription<FatigueState>::SharedPtr subscription_;
};

int main(int argc, char ** argv)
{
  rclcpp::init(argc, argv);
  rclcpp::spin(std::make_shared<TakeABreak>());
  return 0;
}
